//! Which data is taken.

use crate::Bed;

fn insert(data: &str) -> String {
    format!("INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', $${data}$$)")
}

/// Would take data from which no change can be made, and report it where nobody looks.
#[tokio::test]
async fn data_that_no_change_can_hold_is_refused() {
    let bed = Bed::new().await;
    let long = "k".repeat(1025);
    let nested = |levels: usize| format!(r#"{{"a": {}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    for (data, code) in [
        (r#"{"_kind": 1}"#.to_owned(), "23514"),
        (format!(r#"{{"{long}": 1}}"#), "23514"),
        (format!(r#"{{"a": [{{"{long}": 1}}]}}"#), "23514"),
        (nested(64), "23514"),
        (r#"{"a": {"$bytes": "0g"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$bytes": "000"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$bytes": 5}}"#.to_owned(), "22P02"),
        (r#"{"a": [{"b": {"$timestamp": "now"}}]}"#.to_owned(), "22P02"),
        (r#"{"a": {"$timestamp": 1.5}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$timestamp": 1.0}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$counter": 9223372036854775808}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$counter": null}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$text": 5}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$float": "nan"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$float": 1.5}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$string": "\\"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$string": "\\ud800 \\ud800\\u0041"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$map": 5}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$map": [["a"]]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$map": [["a", {"$bytes": "0g"}]]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$map": {"b": {"$bytes": "0g"}}}}"#.to_owned(), "22P02"),
        (r#"{"$map": {"_kind": 1}}"#.to_owned(), "23514"),
        (r#"{"a": {"$keyed": ["id"]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$keyed": ["id", {}]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$keyed": [1, []]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$keyed": ["id", [{"id": 1, "b": {"$bytes": 5}}]]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$tuple": 1}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$tuple": [{"$bytes": "0g"}]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$variant": "Hot"}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$variant": ["Hot", {"$bytes": "0g"}]}}"#.to_owned(), "22P02"),
        (r#"{"a": {"$variant": ["_at", 1]}}"#.to_owned(), "23514"),
        (r#"{"a": [{"_removed": true}]}"#.to_owned(), "23514"),
        (format!(r#"{{"a": {}1{}}}"#, r#"{"$variant": ["A", "#.repeat(64), "]}".repeat(64)), "23514"),
        (format!(r#"{{"a": {}1{}}}"#, r#"{"$tuple": ["#.repeat(32), "]}".repeat(32)), "23514"),
        (format!(r#"{{"a": {}1{}}}"#, r#"{"$map": {"$text": "#.repeat(64), "}}".repeat(64)), "23514"),
        (r#"{"a": 1e309}"#.to_owned(), "22003"),
        (r#"{"a": [-1e309]}"#.to_owned(), "22003"),
        (r#"{"a": "\u0000"}"#.to_owned(), "22P05"),
        ("{".to_owned(), "22P02"),
    ] {
        let (found, message) = bed.refused(&insert(&data)).await;
        assert_eq!(found, code, "{data}: {message}");
    }
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "0");
    for data in [
        nested(63),
        format!(r#"{{"{}": 1}}"#, "k".repeat(1024)),
        r#"{"a": {"_inner": 1, "b_": 2}}"#.to_owned(),
        r#"{"a": {"$bytes": ""}, "b": {"$bytes": "C0ffee"}, "c": {"$timestamp": -9223372036854775808}}"#
            .to_owned(),
        r#"{"a": {"$float": "-Infinity"}, "b": {"$float": "0x7ff8000000000001"}, "c": {"$float": "-0.0"}}"#
            .to_owned(),
        r#"{"a": {"$string": "a\\u0000\\ud83d\\ude00\\\""}, "b": {"$text": {"$string": "\\u0000"}}}"#
            .to_owned(),
        // What is in a map in its form is no form.
        r#"{"a": {"$map": {"$bytes": 5}}, "b": {"$map": [["$text\\u0000", [{"$map": {"$text": 1}}]]]}}"#
            .to_owned(),
        r#"{"$map": {"$map": 1}}"#.to_owned(),
        format!(r#"{{"a": {}{{"$bytes": "00"}}{}}}"#, r#"{"$map": {"$text": "#.repeat(63), "}}".repeat(63)),
        format!(r#"{{"a": {}1{}}}"#, r#"{"$variant": ["A", "#.repeat(63), "]}".repeat(63)),
        format!(r#"{{"a": {}1{}}}"#, r#"{"$tuple": ["#.repeat(31), "]}".repeat(31)),
        // Not alone, so it stands for itself.
        r#"{"a": {"$bytes": 5, "more": 1}, "$bytes": 7}"#.to_owned(),
        r#"{"a": 1.7976931348623157e308, "b": 18446744073709551615, "c": 1e-400, "d": {}, "e": []}"#
            .to_owned(),
    ] {
        bed.psql(&insert(&data));
    }
}

/// Would refuse every edit of an entity that a device gave a field of a kind that SQL may not make.
#[tokio::test]
async fn an_update_is_judged_by_what_it_changes() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 1}"#);
    bed.psql(r#"UPDATE headwater.projection SET data = '{"a": 1, "odd": {"$bytes": "zz"}}'"#);
    bed.psql(r#"UPDATE headwater.entities SET data = data || '{"a": 2}'"#);
    let (code, _) =
        bed.refused(r#"UPDATE headwater.entities SET data = data || '{"b": {"$bytes": "zz"}}'"#).await;
    assert_eq!(code, "22P02");
    let (code, _) = bed.refused(r#"UPDATE headwater.entities SET data = data || '{"_b": 1}'"#).await;
    assert_eq!(code, "23514");
    bed.psql("UPDATE headwater.entities SET data = data - 'odd'");
    assert_eq!(bed.psql("SELECT data FROM headwater.entities"), r#"{"a": 2}"#);
}

/// Would write `5.0` over `5` and back for as long as somebody touches the row.
#[tokio::test]
async fn the_same_number_written_differently_is_no_edit() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 5, "b": {"c": [1.50]}}"#);
    bed.psql(r#"UPDATE headwater.entities SET data = '{"b": {"c": [1.5]}, "a": 5.0}'"#);
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "1");
}

/// Would show another value until the relay has taken the edit in: fields that a form's name was given to, or a map in two forms.
#[tokio::test]
async fn forms_read_at_once_as_they_will_read_later() {
    let bed = Bed::new().await;
    for (written, read) in [
        (r#"{"a": {"$map": {"$text": "x"}}}"#, r#"{"a": {"$map": {"$text": "x"}}}"#),
        (r#"{"a": {"$map": {"$ref": {"$text": "x"}}}}"#, r#"{"a": {"$ref": "x"}}"#),
        (r#"{"a": {"$map": [["b", {"$counter": 5}]]}}"#, r#"{"a": {"$map": [["b", 5]]}}"#),
        (r#"{"a": {"$text": {"$string": "\\u0000"}}}"#, r#"{"a": {"$string": "\\u0000"}}"#),
        (r#"{"a": {"$keyed": ["id", [{"id": 1, "b": {"$text": "x"}}]]}}"#, r#"{"a": [{"id": 1, "b": "x"}]}"#),
        (r#"{"a": {"$tuple": [1, {"$counter": 2}]}}"#, r#"{"a": [1, 2]}"#),
        (r#"{"a": {"$variant": ["Hot", {"$tuple": [93]}]}}"#, r#"{"a": {"Hot": [93]}}"#),
        (r#"{"a": {"$variant": ["$text", 1]}}"#, r#"{"a": {"$map": {"$text": 1}}}"#),
        (r#"{"$text": {"$text": "x"}}"#, r#"{"$text": "x"}"#),
        (r#"{"$map": {"$text": {"$text": "x"}}}"#, r#"{"$text": "x"}"#),
        (r#"{"$map": {"$map": {"$counter": 1}}}"#, r#"{"$map": 1}"#),
    ] {
        let id = bed.psql(&format!("{} RETURNING id", insert(written)));
        let row = format!("SELECT data = $${read}$$ FROM headwater.entities WHERE id = '{id}'");
        assert_eq!(bed.psql(&row), "t", "{written}");
    }
}

/// Would take a field for a form by its name, and with it what somebody else wrote beside it.
#[tokio::test]
async fn fields_that_are_called_as_forms_are_fields() {
    let bed = Bed::new().await;
    bed.insert(r#"{"$text": "x"}"#);
    bed.psql("UPDATE headwater.projection SET data = '{\"$text\": \"x\", \"b\": 2}'");
    // What a transaction wrote that had read the row before.
    bed.psql(
        "INSERT INTO headwater.inbox (space, collection, entity, kind, before, after)
         SELECT space, collection, id, 'patch', '{\"$text\": \"x\"}', '{\"$text\": \"y\"}' FROM headwater.entities",
    );
    assert_eq!(bed.psql("SELECT data FROM headwater.entities"), r#"{"b": 2, "$text": "y"}"#);
}
