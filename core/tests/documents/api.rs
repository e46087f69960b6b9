//! `docs/api.md`: everything at the root of the crate is in it, and everything that it names exists.

use std::collections::BTreeSet;
use std::path::Path;

/// The names that a module's file makes public: what it defines, and what it passes on.
fn public_names(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut hidden = false;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line == "#[doc(hidden)]" {
            hidden = true;
            continue;
        }
        let Some(item) = line.strip_prefix("pub ") else { continue };
        if std::mem::take(&mut hidden) {
            continue;
        }
        if let Some(path) = item.strip_prefix("use ") {
            let mut path = path.to_owned();
            while !path.ends_with(';') {
                path.push_str(lines.next().unwrap());
            }
            let path = path.trim_end_matches(';');
            let listed = path.split_once('{').map(|(_, list)| list.trim_end_matches('}'));
            let listed = listed.unwrap_or_else(|| path.rsplit("::").next().unwrap());
            let of = |name: &str| name.trim().rsplit(" as ").next().unwrap().trim().to_owned();
            names.extend(listed.split(',').map(of).filter(|name| !name.is_empty()));
        } else {
            let mut words = item.split([' ', '(', '<', ':', ';', '=']).filter(|word| !word.is_empty());
            let kinds = ["struct", "enum", "trait", "fn", "const", "type", "mod"];
            if words.any(|word| kinds.contains(&word)) {
                names.insert(words.next().unwrap().to_owned());
            }
        }
    }
    names
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn sources(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The first column of every row in a part of the document.
fn rows(part: &str) -> BTreeSet<String> {
    let cells = part.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split("`, `")).map(|name| name.trim_end_matches('`').to_owned()).collect()
}

#[test]
fn everything_at_the_root_is_on_the_map_and_nothing_else() {
    // Would hide a type from somebody who looks for it, or send them after one that is gone.
    let document = super::read("docs/api.md");
    let (root, modules) = document.split_once("## Modules").unwrap();
    let public = public_names(&super::read("core/src/lib.rs"));
    let named: BTreeSet<String> =
        rows(root).union(&rows(modules.split("\n### ").next().unwrap())).cloned().collect();
    let missing: Vec<_> = public.difference(&named).collect();
    let extra: Vec<_> = named.difference(&public).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not in docs/api.md: {missing:?}; only there: {extra:?}");
}

#[test]
fn everything_that_the_map_names_in_a_module_is_public_there() {
    // Would send somebody after a function that is private or gone.
    let document = super::read("docs/api.md");
    for part in document.split("\n### `").skip(1) {
        let (module, part) = part.split_once('`').unwrap();
        let path = format!("core/src/{}", module.replace("::", "/"));
        let file = [format!("{path}/mod.rs"), format!("{path}.rs")];
        let file = file.iter().find(|file| super::root().join(file).is_file()).unwrap();
        let public = public_names(&super::read(file));
        let named = rows(part);
        assert!(!named.is_empty(), "{module} has no rows");
        let extra: Vec<_> = named.difference(&public).collect();
        assert!(extra.is_empty(), "docs/api.md names in {module} what is not public there: {extra:?}");
    }
}

#[test]
fn every_method_that_the_map_names_exists() {
    // Would name a method that was renamed.
    let mut all = String::new();
    for crate_name in ["core", "storage"] {
        sources(&super::root().join(crate_name).join("src"), &mut all);
    }
    let document = super::read("docs/api.md");
    let methods: BTreeSet<&str> =
        spans(&document).filter(|span| span.starts_with(char::is_lowercase)).collect();
    let methods = methods.into_iter().filter_map(|span| span.strip_suffix("()"));
    let is_there = |name: &str| {
        ["pub fn", "pub async fn", "pub const fn", "    fn"]
            .iter()
            .any(|kind| ["(", "<"].iter().any(|end| all.contains(&format!("{kind} {name}{end}"))))
    };
    let gone: Vec<&str> = methods.filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "docs/api.md names methods that are not there: {gone:?}");
}
