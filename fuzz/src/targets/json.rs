use headwater::model::{JsonStyle, json_from_value, value_from_json, value_from_json_text};

/// JSON text: an error, or a value that every style reads back as it is.
pub fn json(data: &[u8]) {
    let Ok(value) = value_from_json_text(data) else { return };
    let with_kinds = json_from_value(&value, JsonStyle::Kinds);
    assert_eq!(value_from_json(with_kinds.clone()).expect("reads what it wrote"), value);
    let text = with_kinds.to_string();
    assert_eq!(value_from_json_text(text.as_bytes()).expect("reads what it printed"), value);
    let sql = value_from_json(json_from_value(&value, JsonStyle::Sql)).expect("reads what SQL is given");
    assert!(sql.same(&value), "{sql:?} is not {value:?}");
}
