//! View rows are written in one place, which also tells listeners of them.

use std::path::{Path, PathBuf};

/// What writes a view row, or makes one, and the files that may.
const WRITES: [(&str, &[&str]); 5] = [
    // The commit's step with a row in it. Storage says what it is and writes it.
    (
        "Step::Write",
        &["core/src/replica/step.rs", "storage/src/replica/commit.rs", "storage/src/replica/write.rs"],
    ),
    ("EntityWrite {", &["core/src/replica/step.rs", "storage/src/replica/commit.rs"]),
    // A view as a row.
    ("to_row(", &["core/src/replica/step.rs", "core/src/document/show/view.rs"]),
    // The table.
    ("tables::ROWS", &["storage/src/replica/store.rs", "storage/src/replica/write.rs"]),
    // What listeners hear of it.
    ("Patch {", &["core/src/replica/step.rs", "core/src/replica/watch.rs"]),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Code alone: comments, and the examples in them, write what they like.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn says(code: &str, word: &str) -> bool {
    // `Patch {` is neither the end of another name nor a kind of edit by somebody without a replica.
    let is_part = |before: char| before.is_alphanumeric() || before == '_';
    let is_kind = |before: &str| before.ends_with("Kind::") || before.ends_with("\n    ");
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_part) && !is_kind(&code[..at]))
}

#[test]
fn every_view_row_is_written_by_the_step_that_tells_of_it() {
    // Would let what reads answer change without anybody who listens hearing of it.
    let root = super::root().canonicalize().unwrap();
    let mut files = Vec::new();
    for part in ["core/src", "storage/src", "relay/src", "cli/src"] {
        sources(&root.join(part), &mut files);
    }
    assert!(files.len() > 100, "{files:?}");
    for (word, allowed) in WRITES {
        let who: Vec<String> = files
            .iter()
            .filter(|path| says(&code(path), word))
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"))
            .collect();
        for file in &who {
            assert!(allowed.contains(&file.as_str()), "{file} says `{word}`: make an EntityStep instead");
        }
        // A word that nobody says any more finds nothing.
        assert!(who.iter().any(|file| file == allowed[0]), "nobody says `{word}`");
    }
}
