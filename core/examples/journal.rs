//! Two devices keep one coffee journal, edit it offline, and lose nothing.

use headwater::{Counter, Replica, SyncOptions, Text};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct CoffeeBag {
    name: String,
    rating: f64,
    notes: Text,     // merges letter by letter
    brewed: Counter, // every device's increments add up
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let relay = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:8787".into());
    // Each device would have one of these two files.
    let phone = Replica::open("phone.headwater")?;
    let laptop = Replica::open("laptop.headwater")?;
    let on_phone = phone.space("home").collection::<CoffeeBag>("coffee_bags")?;
    let on_laptop = laptop.space("home").collection::<CoffeeBag>("coffee_bags")?;
    let home = phone.space("home").id();
    let sync = async |device: &Replica| device.sync(&relay, SyncOptions::new([home])).await;

    // Needs no network: the bag is durable on the phone when `insert` returns.
    let brewed = Counter::new(0);
    let guji = CoffeeBag { name: "Guji".into(), rating: 4.0, notes: "juicy".into(), brewed };
    let id = on_phone.insert(&guji)?.id;
    let report = sync(&phone).await?;
    println!("the phone pushed {} changes", report.pushed);
    sync(&laptop).await?;

    // Both are offline now, and edit the same bag and the same text.
    on_phone.update(id, |bag| {
        bag.rating = 4.5;
        bag.notes.insert(0, "very ");
        bag.brewed.increment(1);
    })?;
    on_laptop.update(id, |bag| {
        bag.name = "Guji Highland".into();
        bag.notes.push_str(" and sweet");
        bag.brewed.increment(2);
    })?;

    // Both come back: the phone pushes, the laptop pulls and pushes, the phone pulls.
    for device in [&phone, &laptop, &phone] {
        sync(device).await?;
    }
    for (device, bags) in [("phone", &on_phone), ("laptop", &on_laptop)] {
        let CoffeeBag { name, rating, notes, brewed } = bags.get(id)?.ok_or("the bag is gone")?;
        println!("{device}: {name}, {rating} stars, {notes}, brewed {} times", brewed.value());
    }
    Ok(())
}
