//! `docs/protocol.md` says what the codec does: every frame, field, limit and code, and the very bytes.

use std::collections::BTreeMap;

use headwater::wire::schema::{FRAMES, Kind, LIMITS, Presence, Sender};
use headwater::wire::{ErrorCode, Frame, Limits, Ping, Retry, Seal, VERSIONS};

use crate::examples::frames;

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap()
}

/// The sections of the document: heading -> its lines.
fn sections(document: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in document.lines() {
        match line.trim_start_matches('#') {
            text if text.len() < line.len() => heading = text.trim().to_owned(),
            _ => sections.entry(heading.clone()).or_default().push(line.to_owned()),
        }
    }
    sections
}

/// The cells of the table rows that begin with a number.
fn rows(lines: &[String]) -> Vec<Vec<String>> {
    lines
        .iter()
        .filter(|line| line.starts_with("| "))
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .filter(|cells: &Vec<String>| cells[0].chars().all(|char| char.is_ascii_digit()))
        .collect()
}

/// The hexadecimal digits of the code blocks in a section.
fn hex(lines: &[String]) -> String {
    let mut inside = false;
    let mut digits = String::new();
    for line in lines {
        match line.as_str() {
            "```hex" => inside = true,
            "```" => inside = false,
            line if inside => digits.extend(line.chars().filter(char::is_ascii_hexdigit)),
            _ => {}
        }
    }
    digits
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(frame: &Frame) -> String {
    digits(&frame.encode())
}

/// Would go wrong: a field is added, renumbered or renamed, and whoever writes another client learns it from a bug.
#[test]
fn every_frame_and_field_is_in_the_document() {
    let sections = sections(&document());
    for frame in FRAMES {
        let heading = format!("{} {}", frame.number, frame.name);
        let lines = sections.get(&heading).unwrap_or_else(|| panic!("no section {heading:?}"));
        let sender = match frame.sender {
            Sender::Client => "client to relay",
            Sender::Relay => "relay to client",
            Sender::Both => "both ways",
        };
        assert!(lines.iter().any(|line| line.starts_with(sender)), "{heading}: {sender}");
        let documented: Vec<(String, String, String, bool)> = rows(lines)
            .into_iter()
            .map(|cells| (cells[0].clone(), cells[1].clone(), cells[2].clone(), cells[4] == "yes"))
            .collect();
        let coded: Vec<(String, String, String, bool)> = frame
            .fields
            .iter()
            .map(|field| {
                let kind = match field.kind {
                    Kind::Uint => "uint",
                    Kind::Bytes(_) => "bytes",
                    Kind::Text(_) => "text",
                    Kind::Space => "space",
                    Kind::Watermark => "watermark",
                    Kind::Limits => "limits",
                    Kind::Results => "results",
                    Kind::HeadsEntries => "heads",
                    Kind::EntityIds => "entity ids",
                };
                let required = field.presence == Presence::Required;
                (field.number.to_string(), field.name.to_owned(), kind.to_owned(), required)
            })
            .collect();
        assert_eq!(documented, coded, "{heading}");
    }
    let in_document =
        sections.keys().filter(|heading| heading.starts_with(|char: char| char.is_ascii_digit()));
    assert_eq!(in_document.count(), FRAMES.len(), "the document has a frame that the code does not have");
}

/// Would go wrong: the codec changes what it writes, and old and new versions do not understand each other.
#[test]
fn the_bytes_in_the_document_are_the_bytes_on_the_wire() {
    let sections = sections(&document());
    let frames = frames();
    assert_eq!(frames.len(), FRAMES.len());
    let mut wrong = Vec::new();
    for frame in &frames {
        let heading = format!("{} {}", frame.frame_type(), frame.name());
        let documented = sections.get(&heading).map(|lines| hex(lines)).unwrap_or_default();
        if documented == encoded(frame) {
            let bytes: Vec<u8> = (0..documented.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&documented[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(Frame::decode(&bytes, &Limits::default()).unwrap(), *frame);
        } else {
            wrong.push(format!("{heading}: {}", encoded(frame)));
        }
    }
    assert!(wrong.is_empty(), "the encoder writes:\n{}", wrong.join("\n"));
}

/// Would go wrong: the seal is computed in another way, and every message between an old and a new version counts as damaged.
#[test]
fn the_seals_in_the_document_are_the_seals_on_the_wire() {
    let frame = Frame::Ping(Ping { nonce: 1 }).encode();
    let mut seal = Seal::default();
    let messages: String = (0..2).map(|_| digits(&seal.seal(&frame))).collect();
    assert_eq!(hex(&sections(&document())["Seal"]), messages);
}

/// Would go wrong: a code means one thing here and another in the document.
#[test]
fn every_error_code_is_in_the_document() {
    let sections = sections(&document());
    let documented: Vec<(String, String, String)> = rows(&sections["Error codes"])
        .into_iter()
        .map(|cells| (cells[0].clone(), cells[1].clone(), cells[2].clone()))
        .collect();
    let coded: Vec<(String, String, String)> = ErrorCode::ALL
        .iter()
        .map(|code| {
            assert_eq!(ErrorCode::from_number(code.number()), *code);
            let retry = match code.retry() {
                Retry::Never => "never",
                Retry::Later => "later",
            };
            (code.number().to_string(), code.name().to_owned(), retry.to_owned())
        })
        .collect();
    assert_eq!(documented, coded);
}

/// Would go wrong: an operator reads one limit, and another holds.
#[test]
fn every_limit_is_in_the_document_with_its_default() {
    let sections = sections(&document());
    let documented: Vec<(String, String, String)> = rows(&sections["Limits"])
        .into_iter()
        .map(|cells| (cells[0].clone(), cells[1].clone(), cells[2].clone()))
        .collect();
    let defaults = Limits::default();
    let values = defaults.negotiated();
    let coded: Vec<(String, String, String)> = LIMITS
        .iter()
        .zip(values)
        .map(|((key, name), value)| (key.to_string(), (*name).to_owned(), value.to_string()))
        .collect();
    assert_eq!(documented, coded);
}

/// Would go wrong: a new protocol version ships under the document of the old one.
#[test]
fn the_document_is_of_this_version() {
    assert!(document().starts_with(&format!("# Headwater protocol, version {}\n", VERSIONS.end())));
}
