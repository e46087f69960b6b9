//! README and the quick start, followed to the letter: their programs and commands, and what they print.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/serving.rs"]
mod serving;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serving::Relay;

/// Where the documents say that the relay is.
const ADDRESS: &str = "ws://127.0.0.1:8787";
/// What a document has in the place of what differs each time.
const ANYTHING: char = '…';

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The blocks of a document in one language, in order.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    document.split(&fence).skip(1).map(|block| block.split_once("```").unwrap().0).collect()
}

/// Runs an example of the library in a folder of its own, and gives what it prints.
fn run_example(name: &str) -> String {
    let relay = Relay::start();
    let directory = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO"))
        // As when all is tested, so that nothing is built a second time with other features.
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--example",
            name,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(run.status.success());
    let messages = String::from_utf8(run.stdout).unwrap();
    let executable = messages
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .unwrap();
    let run = Command::new(executable).arg(&relay.url).current_dir(&directory).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn the_program_of_the_readme_prints_what_is_printed_there() {
    // Would be the first thing that a new user sees fail.
    let readme = read("README.md");
    let program = blocks(&readme, "rust,no_run")[0];
    assert_eq!(program, read("core/examples/journal.rs"), "README and core/examples/journal.rs differ");
    let (_, behind) = readme.split_once(program).unwrap();
    assert_eq!(run_example("journal"), blocks(behind, "text")[0]);
}

#[test]
fn the_program_of_the_quick_start_prints_what_is_printed_there() {
    // Would leave a new user with a connection that says nothing.
    let document = read("docs/quick-start.md");
    let program = blocks(&document, "rust")[0];
    assert_eq!(
        program,
        read("core/examples/live.rs"),
        "docs/quick-start.md and core/examples/live.rs differ"
    );
    let (_, behind) = document.split_once(program).unwrap();
    assert_eq!(run_example("live"), blocks(behind, "text")[0]);
}

#[test]
fn the_dependencies_that_the_documents_name_are_there() {
    // Would end the first `cargo run` of a new user before it began.
    let workspace = read("Cargo.toml");
    for document in ["README.md", "docs/quick-start.md"] {
        let document = read(document);
        let block = blocks(&document, "toml")[0];
        let (_, lines) = block.split_once("[dependencies]\n").unwrap();
        for line in lines.lines() {
            let (name, what) = line.split_once(" = ").unwrap();
            if let Some(path) = what.split('"').nth(1).and_then(|path| path.strip_prefix("../headwater/")) {
                assert!(read(&format!("{path}/Cargo.toml")).contains(&format!("\nname = \"{name}\"\n")));
                continue;
            }
            let version = what.split('"').nth(1).unwrap();
            let ours = workspace.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
            assert!(ours.contains(&format!("\"{version}.")), "{line}, and here {ours}");
        }
    }
}

#[test]
#[cfg(unix)]
fn the_commands_of_the_quick_start_print_what_is_printed_there() {
    // Would leave a new user in front of an error.
    let document = read("docs/quick-start.md");
    let built = blocks(&document, "sh")[0].lines().next().unwrap().trim().to_owned();
    assert!(read("scripts/demo.sh").contains(&built), "nothing runs `{built}`");

    let relay = Relay::start();
    let directory = tempfile::tempdir().unwrap();
    let mut script = "set -e\nshopt -s expand_aliases\n".to_owned();
    let mut expected = Vec::new();
    let lines = blocks(&document, "console").into_iter().flat_map(str::lines);
    for line in lines {
        match line.strip_prefix("$ ") {
            Some(command) if command.contains(" watch ") => {
                // It goes on while the commands behind it run, in what is another terminal for a person.
                script.push_str(&format!("{command} >watched 2>watching &\nwatch=$!\n"));
                script.push_str(&waiting_for("up to date", "watching"));
            }
            Some(command) => script.push_str(&format!("{command}\n")),
            None => expected.push(line.to_owned()),
        }
    }
    script.push_str(&waiting_for("rating=5", "watched"));
    script.push_str("laptop status\nkill -INT $watch\nwait $watch\ncat watched\n");
    let script = script.replace(ADDRESS, &relay.url);

    let binaries = Path::new(env!("CARGO_BIN_EXE_headwater")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    // From a file, because aliases hold from the next line on.
    let file = directory.path().join("quick-start.sh");
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new("bash");
    command.arg(&file).current_dir(&directory).env("PATH", path).env_remove("HEADWATER_REPLICA");
    let run = command.output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let run = String::from_utf8(run.stdout).unwrap();
    let printed: Vec<&str> = run.lines().collect();
    assert!(printed.len() > expected.len() + 1, "{run}");
    for (printed, expected) in printed.iter().zip(&expected) {
        assert!(is_like(printed, expected), "printed {printed:?}, documented {expected:?}");
    }
    let (watched, status) = printed[expected.len()..].split_last().unwrap();
    assert!(status.iter().any(|line| line.contains("up to date")), "{status:?}");
    assert!(document.contains("`updated bags … rating=5`") && is_like(watched, "updated bags … rating=5"));
}

/// Shell commands that wait until a file has a text, for as long as a loaded machine may need.
#[cfg(unix)]
fn waiting_for(text: &str, file: &str) -> String {
    format!("for _ in $(seq 600); do if grep -q \"{text}\" {file}; then break; fi; sleep 0.05; done\n")
}

/// Whether a line is the documented one, which can leave out one stretch.
#[cfg(unix)]
fn is_like(printed: &str, documented: &str) -> bool {
    match documented.split_once(ANYTHING) {
        Some((front, back)) => printed.strip_prefix(front).is_some_and(|rest| rest.ends_with(back)),
        None => printed == documented,
    }
}
