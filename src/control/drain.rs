//! The orderly end of the process.
//!
//! ```text
//! Ready ──(SIGTERM, SIGINT, POST /drain)──▶ Draining: /readyz 503 ──(drain.delay)──▶ shards drain ──▶ exit 0
//!                                               └──(a second signal)──▶ exit 1, at once
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::shared::{Phase, Shared};
use super::{systemd, tell};
use crate::proxy::command::{Command, ShardHandle};

/// How much longer than their deadline the shards have to say that they are done.
const REST_MAX: Duration = Duration::from_secs(2);
/// How long a full mailbox is given before it is looked at again, and how often.
const MAILBOX_LOOK: Duration = Duration::from_millis(10);
const MAILBOX_LOOKS_MAX: usize = 100;

/// Begins the drain, once.
#[derive(Clone, Default)]
pub(super) struct DrainSwitch(Arc<Notify>);

impl DrainSwitch {
    /// Begins to drain; whether it had not begun before.
    pub fn press(&self, shared: &Shared) -> bool {
        let first = shared.enter(Phase::Draining);
        if first {
            self.0.notify_one();
        }
        first
    }

    /// Waits for the switch, then for the end of the drain.
    pub async fn drained(&self, shared: &Shared) {
        self.0.notified().await;
        systemd::stopping();
        let snapshot = shared.current();
        let (delay, deadline) = (snapshot.gateway.drain_delay, snapshot.gateway.drain_deadline);
        drop(snapshot);
        tell(&format!("tidegate: draining: listeners close after {delay:?}, open exchanges have {deadline:?}"));
        sleep(delay).await;
        let unfinished = drain(&shared.fleet.shards, deadline).await;
        if unfinished > 0 {
            tell(&format!("tidegate: {unfinished} shards had not finished in time"));
        }
    }
}

/// Drains every shard; how many have not said that they are done.
async fn drain(shards: &[ShardHandle], deadline: Duration) -> usize {
    let mut answers = Vec::with_capacity(shards.len());
    for shard in shards {
        let (tell, answer) = oneshot::channel();
        send(
            shard,
            Command::Drain {
                deadline,
                reply: Box::new(move |()| {
                    let _ = tell.send(());
                }),
            },
        )
        .await;
        answers.push(answer);
    }
    let mut done = 0;
    let all = async {
        for answer in answers {
            done += usize::from(answer.await.is_ok());
        }
    };
    // What is not done by then never will be.
    let _ = timeout(deadline + REST_MAX, all).await;
    shards.len() - done
}

async fn send(shard: &ShardHandle, mut command: Command) {
    for _ in 0..MAILBOX_LOOKS_MAX {
        match (shard.send)(command) {
            Ok(()) => return,
            Err(back) => command = back,
        }
        sleep(MAILBOX_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(shards: &[ShardHandle]) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(drain(shards, Duration::ZERO))
    }

    fn shard(take: impl Fn(Command) -> Result<(), Command> + Send + Sync + 'static) -> ShardHandle {
        ShardHandle { number: 0, send: Box::new(take) }
    }

    #[test]
    fn the_drain_ends_when_every_shard_is_done() {
        let obey = |command| {
            if let Command::Drain { reply, .. } = command {
                reply(());
            }
            Ok(())
        };
        assert_eq!(drained(&[shard(obey), shard(obey)]), 0);
    }

    #[test]
    fn a_shard_that_is_gone_does_not_hold_the_drain() {
        let gone = |command| {
            drop(command);
            Ok(())
        };
        assert_eq!(drained(&[shard(gone)]), 1);
    }
}
