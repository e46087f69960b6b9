//! Two devices stay connected, and one sees what the other writes.

use std::time::Duration;

use headwater::{ConnectOptions, Origin, Replica};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    packed: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let relay = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:8787".into());
    let phone = Replica::open("phone.headwater")?;
    let laptop = Replica::open("laptop.headwater")?;
    let (camping, there) = (phone.space("camping"), laptop.space("camping"));

    // Whoever listens first misses nothing. The connections reconnect by themselves, and end when they are dropped.
    let mut patches = laptop.patches();
    let from_laptop = laptop.connect(&relay, ConnectOptions::new([there.id()]))?;
    let from_phone = phone.connect(&relay, ConnectOptions::new([camping.id()]))?;
    from_laptop.sync_now().await?;

    let items = camping.collection::<Item>("items")?;
    let written = items.insert(&Item { name: "tent".into(), packed: false })?;
    println!("phone: the tent is on this device");
    tokio::time::timeout(Duration::from_secs(30), written.receipt.on_relay()).await??;
    println!("phone: the tent is on the relay");

    while let Some(patch) = patches.next().await {
        let patch = patch?;
        if patch.origin == Origin::Remote && patch.entity == written.id {
            let item = there.collection::<Item>("items")?.get(patch.entity)?.ok_or("it is deleted again")?;
            println!("laptop: {:?} {}, packed: {}", patch.kind, item.name, item.packed);
            break;
        }
    }
    from_phone.disconnect().await;
    from_laptop.disconnect().await;
    Ok(())
}
