//! The loop over stdin.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

use crate::session::Session;
use crate::{Answer, Result, System};

/// Does what the lines on stdin say and answers each on stdout, until stdin ends; then closes what was opened.
///
/// Must be called in a multi-threaded tokio runtime.
pub async fn serve<S: System>(system: S) -> Result<()> {
    // On a worker, where the system's own tasks run: the thread in `block_on` is not one, and to wake it costs a latency that no app
    // built as a set of tasks would have.
    tokio::spawn(answer_lines(system)).await?
}

async fn answer_lines<S: System>(system: S) -> Result<()> {
    let mut session = Session::new(system);
    let mut lines = BufReader::new(stdin()).lines();
    let mut output = stdout();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&mut session, &line).await;
        let answer = answer.unwrap_or_else(|error| Answer::Failed { error: error.to_string() });
        let mut answer = serde_json::to_vec(&answer)?;
        answer.push(b'\n');
        output.write_all(&answer).await?;
        output.flush().await?;
    }
    session.close().await
}

async fn answer<S: System>(session: &mut Session<S>, line: &str) -> Result<Answer> {
    session.run(serde_json::from_str(line)?).await
}
