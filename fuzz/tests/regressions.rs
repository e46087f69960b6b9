//! Plans that once broke a promise, as short as the shrinking made them. Each names the bug that it found; most of these are
//! also planted, see `./dev mutants`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_fuzz::run;

#[track_caller]
fn keeps_its_promises(plan: &str) {
    run(&plan.parse().unwrap()).unwrap();
}

#[test]
fn a_comparison_that_breaks_off_ends_the_trust_in_the_position_before_it() {
    // What a replica had merged from one relay never reached the other, which it was even with before.
    keeps_its_promises(
        "623 replicas=4 relays=3 spaces=1 clone-replica:6e3eb89953c1fce back-up-replica:5f795a3c2091bdd \
         connect:2ee12d0e52cd16f9 edit:d3ad6ed85674e17 connect:5dfea30c0547138e edit:5ad4baa589e4349f \
         deliver:9f2bf01fdf01acdd connect:4271274ca4175916 clone-replica:b343d85eceec8ae9 \
         deliver:8a896a7c318b56b5 restore-replica:f237ffbb3b2d3306",
    );
    keeps_its_promises(
        "4274 replicas=2 relays=2 spaces=1 connect:14d53da003f4dd87 \
         clone-replica:611a4f517483494c clone-replica:27a0d8104f76b3eb edit:96ea55b372bd327c \
         clone-replica:b40b0903140e2ce7 connect:f8fff3776a82d10c back-up-replica:99ec15c9cf4c7db \
         edit:542157c4eb11fa00 deliver:130bb272a9c82af1 connect:f6f714c825c02b8a \
         restore-replica:c1ee843850d47daf deliver:5f0aab1d3b80ebc0",
    );
}

#[test]
fn a_change_with_a_wrong_checksum_is_refused() {
    // The engine reads over it, so a damaged copy under the author's hash was stored by whoever pushed it first.
    keeps_its_promises(
        "50422 replicas=1 relays=1 spaces=1 edit:28c366b5c73c666e edit:c1f10f40f7698356 \
         edit:e0c5b10bebf4c777 connect:e1e0c972f6d2e927 deliver:109546bd9919c1b4 attack:501948b552e5d6a \
         deliver:e18072489aa31270",
    );
}

#[test]
fn a_push_after_repeats_is_remembered_by_whoever_only_pushes() {
    // A relay restored to before that push was taken for the same, and never got it back.
    keeps_its_promises(
        "10749 replicas=4 relays=1 spaces=1 edit:3c7deefab3250fe1 clone-replica:cbd4d1f7da71d3bc \
         power-fail-replica:b92a62b9db8420b1 connect:e5ff17c8dd2b466f clone-replica:7825c510a03d58de \
         deliver:4ecacbbd78915621 back-up-relay:a2aa8c80cf0c7beb restore-relay:2f51689eb7f0d871 \
         restart-replica:65e023fc66543a81 connect:62a1104d9cc004ce fail-relay-disk:1290f82f586a222a \
         edit:8a317a7855d36dda connect:1582cf1469d0e700 edit:3b5349f751f97a6e \
         deliver:e7bea1a82a4b7f44 connect:2bc20a284d935337 clone-replica:eb9b8c66971ec43b \
         clone-replica:d11c04822e92838f deliver:70430232a6b9586 restore-relay:3d192eba4b2e6a3e",
    );
}

#[test]
fn a_session_that_failed_does_not_count_as_up_to_date() {
    // A pull or push that the relay's disk refused was forgotten once the rest was done.
    keeps_its_promises(
        "294 replicas=4 relays=1 spaces=1 clone-replica:d001fc8c637df457 edit:e1d22073446c772f \
         connect:8235bb0673c231f6 deliver:25b7be9a8e341d81 edit:9a94ead5c5d0315e \
         fail-relay-disk:d3339e3ed951fa33 foreign-version:84906ec71177d1ea attack:960f7ffc82d344b9 \
         foreign-version:888b9319630c9611 edit:c03a5601c4c6f383 connect:6e5fa41b1f9ba824 \
         deliver:54b8bb983edbb80a",
    );
}

#[test]
fn a_damaged_frame_is_noticed() {
    // A flipped bit in an entity's id put its change into another entity.
    keeps_its_promises(
        "41 replicas=5 relays=1 spaces=1 edit:d3f121dbdd13a5bc connect:aee66b583d880ed8 \
         edit:7c5c9d3938436542 edit:c3673324c936f2f8 edit:39157df26db63682 connect:37c2fa1b47ee146a \
         deliver:2126e795c0630137 wait:617669a2687905eb edit:d750fac9211fab80 \
         connect:7ffb485c9c69cb19 connect:ac7c74fe1ab0d28a deliver:83aea59c82dd2240 \
         connect:5a9d2bf6c37b8a2a deliver:6b725e44a67a1383 flip:80b082f180c4f463 \
         deliver:f08ca04d2c55285b",
    );
}

#[test]
fn a_peer_whose_last_word_is_lost_need_not_be_turned_away() {
    // Would blame the relay for what it never heard.
    keeps_its_promises(
        "1795259375341 replicas=1 relays=1 spaces=1 attack:2a6d2d11d53bb3a2 lose:f42b76b56afe6214 \
         deliver:8e0824b13206bb2a",
    );
}

#[test]
fn a_whole_entity_is_pushed_in_causal_order() {
    // Changes that had come early were pushed ahead of what they build on when heads were compared, refused for that, and never
    // pushed again.
    keeps_its_promises(
        "144 replicas=3 relays=3 spaces=1 connect:5f2dcad1b4c23fbc \
         restore-replica:cb8c5a9fa6ac64e connect:6266b2efd2be1310 deliver:9b9adfb451be3575 \
         back-up-replica:4d19c4b097feb0ec edit:4c285574476d1f33 connect:43b073bd2af1013 \
         deliver:a054d7e255b5efe9 deliver:6a173fd664d0ee5c double:6dcc28de1f5163de \
         restore-replica:d6b6555421427058 deliver:89ade8d0d12ae8a6 stall:fa0f2200594bb424 \
         deliver:22cf545f2742e64 restore-replica:16c90be4edd7290e restore-replica:d5fefc1394162ff \
         clone-replica:e1fcea4a6e1f45f3 edit:ff8cefe4b0ee3db6 back-up-replica:98910f8e5073f0f1 \
         flip:5e331dafec7c5c09 edit:6f7c40926a31269e connect:18320d640adbb067 \
         deliver:f371ac2d42e44827 edit:481f444366a59c2d deliver:a3e6f140df9250d5 \
         edit:fb80f939faa419a4 cut:77996ce334509d05 edit:480e18d63eaf5ad connect:b0a8c57eb7f4525 \
         edit:d53ab959a53466a3 clone-replica:3d5b18ce481c700c deliver:213559806a14c3bc \
         deliver:c2ec6436518d373a sync-now:b0d3dfaa651cf01e edit:10259a63bb9978c7 \
         flip:70a8797874947fe0 stall:2ad9c758ac7ea148 edit:f5611c13097305cf \
         deliver:511c5366e6cb539c lose:89b82645007889e6 deliver:721bd6a2f696ea26 \
         wait:239cbef5ac4fd9c8 wait:b7779d85aee4812b deliver:f663be11c032a33e \
         connect:e5c0444abf8f214a restore-replica:b22f10a02e4fd963 deliver:f29478eeffd1c06a \
         deliver:fff64436e173302d connect:1574ffa39143ffe restore-replica:187b09cea6a5478a \
         edit:9bb917536b040efe edit:d1d7a2d9d654c33 edit:f93673be0c0157da edit:bdf367e545d8e9 \
         deliver:58f7013c76fd9be4 connect:dcb1200c333966cd clone-replica:80db9eb1f6aa503b \
         edit:ee23f595eb9b7318 deliver:8568149e5a21d2f6 stall:593ce8bf0ddfcae2 \
         cut:4872411ef53fa214 back-up-replica:8c7aa8e111d8722d edit:a26f0455f7a290c \
         back-up-replica:227441e7338af6cf deliver:2583f834a1c56060 connect:f2944df59820282 \
         deliver:d6ba9c9399543ebf edit:b30e998245c2699d sync-now:717151f99d75e333 \
         deliver:525d507265945ec9 edit:8ce4bc24aa938197 sync-now:9ddc32b90e7e588c \
         swap:e571536c31d4aa26 double:4102fa53a0078f5c swap:b2415e222970ad08 \
         deliver:315cded82e6338d7 connect:282205033ebf6535 connect:e7fd6cd70070a473 \
         swap:ab2a225e32daca55 sync-now:20cc39288b02588c deliver:95248cc01ee798e4 \
         back-up-replica:7b7e4c6e03ad3cc6 deliver:2755e39b2dd79769 flip:b1078662ac7585e5 \
         stall:fa734e7711ba0773 back-up-replica:a07dce434b3b343e edit:504eae49e073f47f \
         edit:eb9e221b82a368ee restore-replica:cea0c3879bd2dcbb edit:e0daf0137f1857f0 \
         edit:54e06437d5b3e2b3 edit:f21ce45481f252f4 clone-replica:3e3ae7e768af802 \
         clone-replica:b1b1daa67d4c1d16",
    );
}

#[test]
fn a_negative_zero_is_no_count() {
    // A counter that was set to -0 took it for its own 0, and the program that set it read something else.
    keeps_its_promises("31001431 replicas=1 relays=1 spaces=1 edit:66dc7a06198eea21 edit:22f1fc88360d95e");
}

#[test]
fn a_connection_that_lags_waits_for_the_first_change_of_a_space_without_a_feed() {
    // A relay that had dropped what was for one space read all of them again, and said of a space without a feed that it failed.
    keeps_its_promises(
        "60001780 replicas=8 relays=1 spaces=2 edit:d1b2948a7e3bf49d edit:fa6a0673208df876 \
         edit:a6b8c1abc4cfe436 edit:296974f47e16f07e fail-relay-disk:5f5990d3675201ef \
         edit:af5b6b674b26b2c fail-relay-disk:53c507bea08fee99 edit:21cc1f77b9a6a461 \
         edit:66aafb63cb3bb0dd connect:f5f114265d34d39a edit:6e8bec32e946cc04 edit:c08754ade91f17d3 \
         fail-replica-disk:22660637a5c05d72 edit:b66a3bb570c6a6d3 edit:21f85466b5b8012d \
         edit:c98b2682b24641e7 edit:d2503e451d490183 edit:f705e687a95df6a6 edit:c0b97eeab270770a \
         edit:1096a12474a6b347 edit:fb1c6337f0c7d6b1 edit:9d56f0f59aab4b6 edit:e7cc650723e27b95 \
         edit:3af02f2f3cc0ff19",
    );
}

#[test]
fn nought_is_written_over_minus_nought() {
    // The engine takes the two for the same value, and left out the write.
    keeps_its_promises("62012288 replicas=4 relays=1 spaces=1 edit:f969490fc6a097af edit:4c77574ad6d8285a");
}

#[test]
fn an_edit_whose_entity_came_back_to_its_collection_is_made_again_there() {
    // It was called lost, because it builds on a change that had come back, and was looked for among those that had not.
    keeps_its_promises(
        "62017967 replicas=4 relays=1 spaces=1 edit:274aaed815aaa831 clone-replica:e2a3d1edd9faeaab \
         clash:acf63a6705659d5d clone-replica:5d983a2d492074c2 clash:9fabe6807c030c06 \
         clash:b5577f0de676e4e0 clone-replica:8ec458c0771ef2a2 clone-replica:306339911ffcae1d \
         connect:2a80766930eac749 connect:d886c12a007b9880 deliver:22bd3dae6645f296 \
         restore-relay:7ee4c71a20107eae",
    );
}
