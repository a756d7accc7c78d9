//! Ctrl-C: the first press asks the work to stop where it can be resumed, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::exit::INTERRUPTED;

/// Whether the user has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The operating system refused to tell about Ctrl-C.
#[derive(Debug, Error)]
#[error("Ctrl-C cannot be listened to")]
pub struct InterruptError(#[from] ctrlc::Error);

impl Interrupt {
    /// Listens from now on, also to the request to terminate that process managers send.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn listen() -> Result<Self, InterruptError> {
        let interrupt = Self::default();
        let requested = interrupt.clone();
        ctrlc::set_handler(move || {
            if requested.0.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
            eprintln!("stopping at the end of a training step; press Ctrl-C again to end at once");
        })?;
        Ok(interrupt)
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
