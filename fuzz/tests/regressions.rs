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
