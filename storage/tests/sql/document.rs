//! The examples of `docs/sql.md`.

use crate::Bed;

/// Would tell people things that do not work.
#[tokio::test]
async fn the_examples_of_the_document_run() {
    let bed = Bed::new().await;
    // Roles belong to the whole server, which other tests share.
    let role = format!("web_app_{}", uuid::Uuid::new_v4().simple());
    let document = include_str!("../../../docs/sql.md").replace("web_app", &role);
    let examples: Vec<&str> =
        document.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 8);
    for example in examples {
        println!("{example}{}\n", bed.psql(example));
    }
    let names = "SELECT string_agg(data ->> 'name', ' ' ORDER BY data ->> 'name') FROM headwater.entities \
                 WHERE deleted_at IS NULL";
    assert_eq!(bed.psql(names), "Guji Harrar Sidamo Yirga");
    bed.psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
