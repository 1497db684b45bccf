//! Standard input and output.

use crate::session::{Host, Session};
use lsp_server::{Connection, ErrorCode, Message, Notification, Response};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Checking recurses as deep as the spec's calls and expressions nest.
const STACK: usize = 256 << 20;

/// Serves an editor on standard input and output until it says goodbye.
///
/// Errors: what the editor or the connection did wrong.
pub fn serve(host: Host) -> Result<(), String> {
    let run = move || {
        let (connection, threads) = Connection::stdio();
        let result = run(&connection, host);
        drop(connection);
        result.and_then(|()| threads.join().map_err(|e| e.to_string()))
    };
    let thread = std::thread::Builder::new().name("server".into()).stack_size(STACK).spawn(run);
    let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
    thread.join().unwrap_or_else(|_| Err("the server broke down".into()))
}

fn run(connection: &Connection, host: Host) -> Result<(), String> {
    let (id, params) = connection.initialize_start().map_err(|e| e.to_string())?;
    let params = serde_json::from_value(params).map_err(|e| format!("initialize: {e}"))?;
    let (mut session, answer) = Session::start(host, params);
    let answer = serde_json::to_value(answer).map_err(|e| e.to_string())?;
    connection.initialize_finish(id, answer).map_err(|e| e.to_string())?;
    loop {
        // Files are checked when the editor has nothing more to say, so fast typing does not queue up checks.
        let message = match connection.receiver.try_recv() {
            Ok(message) => message,
            Err(_) => {
                let published = guarded(|| session.publish()).unwrap_or_default();
                for params in published {
                    send(connection, Notification::new("textDocument/publishDiagnostics".into(), params).into())?;
                }
                match connection.receiver.recv() {
                    Ok(message) => message,
                    Err(_) => return Ok(()),
                }
            }
        };
        match message {
            Message::Request(request) => {
                if connection.handle_shutdown(&request).map_err(|e| e.to_string())? {
                    return Ok(());
                }
                let id = request.id.clone();
                let answer = guarded(|| session.request(&request.method, request.params));
                let response = match answer {
                    Some(Ok(value)) => Response::new_ok(id, value),
                    Some(Err((code, message))) => Response::new_err(id, code as i32, message),
                    None => Response::new_err(id, ErrorCode::InternalError as i32, BROKEN.into()),
                };
                send(connection, response.into())?;
            }
            Message::Notification(note) => {
                if note.method == "exit" {
                    return Ok(());
                }
                guarded(|| session.notify(&note.method, note.params));
            }
            Message::Response(_) => {}
        }
    }
}

const BROKEN: &str = "the server met a mistake of its own; please report it";

/// One answer that fails must not end the session. No such mistake is known; the fuzzer looks for them.
fn guarded<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

fn send(connection: &Connection, message: Message) -> Result<(), String> {
    connection.sender.send(message).map_err(|_| "the editor closed the connection".to_owned())
}
