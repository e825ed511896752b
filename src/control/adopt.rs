//! All shards or none: prepares a snapshot on every shard, then commits it on every one.
//!
//! ```text
//! Prepare ──(all ready)──▶ Commit ──▶ adopted
//!    └──(one refuses, is gone or too slow)──▶ Abort on all ──▶ the plan before serves on
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::tell::tell;
use crate::proxy::command::{Command, ShardHandle};
use crate::snapshot::Snapshot;

/// How long a shard may take to prepare; it binds sockets at most.
pub(super) const PREPARE_MAX: Duration = Duration::from_secs(10);
/// How long to wait for the word that a commit was done. It happens in any case.
pub(super) const COMMIT_MAX: Duration = Duration::from_secs(10);
/// How long a full mailbox is given before it is looked at again.
const MAILBOX_LOOK: Duration = Duration::from_millis(5);

/// Why a snapshot was not adopted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{reason}")]
    Refused { reason: String },
    #[error("shard {shard} did not answer within {PREPARE_MAX:?}")]
    Silent { shard: usize },
    #[error("shard {shard} takes no commands")]
    Unreachable { shard: usize },
}

/// Puts `snapshot` in force on every shard, or on none.
pub(super) async fn adopt(shards: &[ShardHandle], snapshot: &Arc<Snapshot>) -> Result<(), Refusal> {
    let generation = snapshot.generation;
    if let Err(refusal) = prepare(shards, snapshot, PREPARE_MAX).await {
        for shard in shards {
            // A shard that does not hear this forgets what it prepared with the next preparation.
            let _ = (shard.send)(Command::Abort { generation });
        }
        return Err(refusal);
    }
    commit(shards, generation).await;
    Ok(())
}

async fn prepare(shards: &[ShardHandle], snapshot: &Arc<Snapshot>, time: Duration) -> Result<(), Refusal> {
    let mut answers = Vec::with_capacity(shards.len());
    for shard in shards {
        let (tell, answer) = oneshot::channel();
        let reply = Box::new(move |outcome| drop(tell.send(outcome)));
        let command = Command::Prepare { snapshot: Arc::clone(snapshot), reply };
        (shard.send)(command).map_err(|_| Refusal::Unreachable { shard: shard.number })?;
        answers.push((shard.number, answer));
    }
    let mut first = Ok(());
    for (shard, answer) in answers {
        let outcome = match timeout(time, answer).await {
            Ok(Ok(outcome)) => outcome.map_err(|reason| Refusal::Refused { reason }),
            Ok(Err(_)) => Err(Refusal::Unreachable { shard }),
            Err(_) => Err(Refusal::Silent { shard }),
        };
        first = first.and(outcome);
    }
    first
}

/// From here on there is no way back: every shard will have it.
async fn commit(shards: &[ShardHandle], generation: u64) {
    let mut answers = Vec::with_capacity(shards.len());
    for shard in shards {
        let (tell, answer) = oneshot::channel();
        let command = Command::Commit {
            generation,
            reply: Box::new(move |()| {
                let _ = tell.send(());
            }),
        };
        insist(shard, command).await;
        answers.push((shard.number, answer));
    }
    for (shard, answer) in answers {
        if timeout(COMMIT_MAX, answer).await.is_err() {
            tell(&format!("shard {shard} has not adopted generation {generation} within {COMMIT_MAX:?}"));
        }
    }
}

/// Sends a command that a full mailbox must not refuse. The shard has just prepared, so it lives and will make room;
/// were it gone, the process would be too.
async fn insist(shard: &ShardHandle, mut command: Command) {
    for _ in 0..COMMIT_MAX.as_millis() / MAILBOX_LOOK.as_millis() {
        match (shard.send)(command) {
            Ok(()) => return,
            Err(back) => command = back,
        }
        tokio::time::sleep(MAILBOX_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmptyEnvironment, Source};
    use crate::snapshot::Draft;
    use std::sync::Mutex;

    type Log = Arc<Mutex<Vec<String>>>;

    /// A shard that answers at once and writes down what it was told.
    fn shard(number: usize, answer: Result<(), String>, log: &Log) -> ShardHandle {
        let log = Arc::clone(log);
        let send = move |command| {
            let mut log = log.lock().unwrap();
            match command {
                Command::Prepare { snapshot, reply } => {
                    log.push(format!("{number} prepare {}", snapshot.generation));
                    reply(answer.clone());
                }
                Command::Commit { generation, reply } => {
                    log.push(format!("{number} commit {generation}"));
                    reply(());
                }
                Command::Abort { generation } => log.push(format!("{number} abort {generation}")),
                Command::Drain { .. } => log.push(format!("{number} drain")),
            }
            Ok(())
        };
        ShardHandle { number, send: Box::new(send) }
    }

    fn snapshot() -> Arc<Snapshot> {
        Arc::new(Draft::alone(&Source::text("t.yaml", "admin: off\n"), &EmptyEnvironment).snapshot)
    }

    fn run(shards: &[ShardHandle]) -> Result<(), Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(adopt(shards, &snapshot()))
    }

    #[test]
    fn every_shard_has_prepared_before_one_commits() {
        let log = Log::default();
        run(&[shard(0, Ok(()), &log), shard(1, Ok(()), &log)]).unwrap();
        assert_eq!(*log.lock().unwrap(), ["0 prepare 1", "1 prepare 1", "0 commit 1", "1 commit 1"]);
    }

    #[test]
    fn one_refusal_aborts_on_all() {
        let log = Log::default();
        let refused = run(&[shard(0, Ok(()), &log), shard(1, Err("taken".into()), &log)]);
        assert_eq!(refused, Err(Refusal::Refused { reason: "taken".into() }));
        assert_eq!(*log.lock().unwrap(), ["0 prepare 1", "1 prepare 1", "0 abort 1", "1 abort 1"]);
    }

    #[test]
    fn a_shard_that_takes_no_command_aborts_on_all() {
        let log = Log::default();
        let deaf = ShardHandle { number: 1, send: Box::new(Err) };
        assert_eq!(run(&[shard(0, Ok(()), &log), deaf]), Err(Refusal::Unreachable { shard: 1 }));
        assert_eq!(*log.lock().unwrap(), ["0 prepare 1", "0 abort 1"]);
    }

    #[test]
    fn a_shard_that_drops_its_answer_aborts_on_all() {
        let log = Log::default();
        let dropping = ShardHandle {
            number: 1,
            send: Box::new(|command| {
                drop(command);
                Ok(())
            }),
        };
        assert_eq!(run(&[shard(0, Ok(()), &log), dropping]), Err(Refusal::Unreachable { shard: 1 }));
        assert_eq!(log.lock().unwrap().last().unwrap(), "0 abort 1");
    }

    #[test]
    fn a_shard_that_does_not_answer_in_time_refuses() {
        let kept = Mutex::new(Vec::new());
        let keeping = move |command| {
            kept.lock().unwrap().push(command);
            Ok(())
        };
        let shards = [ShardHandle { number: 0, send: Box::new(keeping) }, shard(1, Ok(()), &Log::default())];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let prepared = runtime.block_on(prepare(&shards, &snapshot(), Duration::from_millis(10)));
        assert_eq!(prepared, Err(Refusal::Silent { shard: 0 }));
    }

    #[test]
    fn a_full_mailbox_delays_the_commit_and_nothing_else() {
        let log = Log::default();
        let inner = shard(0, Ok(()), &log);
        let refusals = Mutex::new(2);
        let send = move |command| {
            let mut left = refusals.lock().unwrap();
            if matches!(command, Command::Commit { .. }) && *left > 0 {
                *left -= 1;
                return Err(command);
            }
            (inner.send)(command)
        };
        run(&[ShardHandle { number: 0, send: Box::new(send) }]).unwrap();
        assert_eq!(*log.lock().unwrap(), ["0 prepare 1", "0 commit 1"]);
    }
}
