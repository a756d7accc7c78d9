//! Long work on a thread of its own. The calling thread gives the interpreter away, passes on what the work tells, and looks
//! for Ctrl-C, which Python shows to its main thread only.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyo3::prelude::*;
use rayon::ThreadPoolBuilder;
use ueo::session::Reporter;
use ueo_cli::CliError;
use ueo_run::RunError;

use crate::errors::{error, python_error};
use crate::telling::{Messenger, Told};

/// Longest time between two looks for Ctrl-C.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// That of a main thread, on which the command line does the same work.
const STACK_BYTES: usize = 8 << 20;

/// Does a job with so many threads, all cores where nothing is chosen, and tells a listener.
///
/// # Errors
///
/// The job's; what the listener raises, and `KeyboardInterrupt`, once the job has stopped at its next batch.
pub fn work<T: Send>(
    listener: &Bound<'_, PyAny>,
    threads: Option<usize>,
    job: impl FnOnce(&mut dyn Reporter) -> Result<T, RunError> + Send,
) -> PyResult<T> {
    let py = listener.py();
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let messenger = Messenger {
            sender,
            stop: &stop,
        };
        let worker = thread::Builder::new()
            .name("ueo".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || with_threads(threads, messenger, job))
            .map_err(|failure| error(py, &format!("no thread can be started: {failure}"), None))?;
        let raised = listen(listener, &receiver, &stop);
        let done = py.detach(|| join(worker));
        raised?;
        done.map_err(|failure| python_error(py, failure))
    })
}

/// Passes on what is told until the job has ended.
///
/// # Errors
///
/// The first exception; the job is asked to stop then.
fn listen(
    listener: &Bound<'_, PyAny>,
    receiver: &Mutex<Receiver<Told>>,
    stop: &AtomicBool,
) -> PyResult<()> {
    let py = listener.py();
    let mut raised = Ok(());
    loop {
        let told = py.detach(|| {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv_timeout(LOOK_INTERVAL)
        });
        let told = match told {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return raised,
        };
        let passed_on = py.check_signals().and_then(|()| match told {
            Some(told) if raised.is_ok() => told.to(listener),
            _ => Ok(()),
        });
        if passed_on.is_err() && raised.is_ok() {
            raised = passed_on;
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn with_threads<T: Send>(
    threads: Option<usize>,
    mut messenger: Messenger<'_>,
    job: impl FnOnce(&mut dyn Reporter) -> Result<T, RunError> + Send,
) -> Result<T, CliError> {
    let Some(threads) = threads else {
        return Ok(job(&mut messenger)?);
    };
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| CliError::Threads { threads, source })?;
    Ok(pool.install(|| job(&mut messenger))?)
}

/// What a thread ends with; a panic goes on in this one.
fn join<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker
        .join()
        .unwrap_or_else(|panic| panic::resume_unwind(panic))
}
