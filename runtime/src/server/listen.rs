//! The port: how many connections there may be. When there are as many, the one that has been idle the longest makes room: so idle
//! ones, however many, keep nobody out.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{Id, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Caller, Connection, LONGEST_FAREWELL},
    front::Front,
    intake::MOST_READ_AT_A_TIME,
};
use crate::lane::admission::LONGEST_QUEUE;

/// A node's clients are tens, not thousands. Each connection takes about 20 KB, and a file: some systems give a process 1024.
const MOST_CONNECTIONS: usize = 768;

/// Those that read, wait or compute are never all of them: so one is idle, and a probe always gets in.
const _: () = assert!(MOST_READ_AT_A_TIME + LONGEST_QUEUE + 1 < MOST_CONNECTIONS);

/// While every connection is at work, or the system gives no more of them, this is the time until the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets requests in flight finish, within a limit.
pub(crate) async fn serve(listener: TcpListener, front: Front, stop: CancellationToken) -> io::Result<()> {
    serve_at_most(MOST_CONNECTIONS, listener, front, stop).await
}

/// [`serve`], with so many connections.
pub(super) async fn serve_at_most(
    most: usize,
    listener: TcpListener,
    front: Front,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut open = Open { most, tasks: JoinSet::new(), connections: HashMap::new() };
    tokio::select! {
        () = open.accept(&listener, &front, &stop) => (),
        () = stop.cancelled() => (),
    }
    drop(listener);
    if timeout(LONGEST_FAREWELL, open.all_ended()).await.is_err() {
        tracing::warn!("connections were still open at the end, and are closed");
    }
    Ok(())
}

/// The connections that are open. Dropping it closes them.
struct Open {
    most: usize,
    tasks: JoinSet<()>,
    connections: HashMap<Id, Arc<Connection>>,
}

impl Open {
    async fn accept(&mut self, listener: &TcpListener, front: &Front, stop: &CancellationToken) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    self.make_room().await;
                    let connection = Arc::new(Connection::begun(Caller::at(peer.ip())));
                    self.attend(stream, connection, front.clone(), stop.clone());
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to accept a connection");
                    self.end_one();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn attend(
        &mut self,
        stream: TcpStream,
        connection: Arc<Connection>,
        front: Front,
        stop: CancellationToken,
    ) {
        // Answers are small: waiting for more to send (Nagle) would add 40 ms to them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let task = self.tasks.spawn(Arc::clone(&connection).attend(stream, front, stop));
        self.connections.insert(task.id(), connection);
    }

    /// Returns once there may be another connection.
    async fn make_room(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        while self.tasks.len() >= self.most {
            self.end_one();
            if let Ok(Some(ended)) = timeout(PAUSE, self.tasks.join_next_with_id()).await {
                self.forget(ended);
            }
        }
    }

    /// Ends the connection that has been idle the longest, if one is idle.
    fn end_one(&self) {
        let idle = self.connections.values().filter(|connection| !connection.end.is_cancelled());
        let idle = idle.filter_map(|connection| Some((connection.idle_since()?, connection)));
        if let Some((_, connection)) = idle.min_by_key(|(since, _)| *since) {
            connection.end.cancel();
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.connections.remove(&id);
    }

    async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
