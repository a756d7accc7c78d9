//! Ctrl-C: the first press asks the work to stop where it can be resumed, the second ends the program. While there is nothing
//! to resume yet, as when a folder is listed or texts are encoded, the first one ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::exit::INTERRUPTED;
use crate::printer::Printer;

/// Whether the user has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    requested: AtomicBool,
    /// Whether what is going on may end anywhere.
    at_once: AtomicBool,
}

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
    pub fn listen(printer: &Printer) -> Result<Self, InterruptError> {
        // The operating system tells one listener only, and a command may have several passes.
        static LISTENING: OnceLock<Interrupt> = OnceLock::new();
        if let Some(interrupt) = LISTENING.get() {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::default();
        let requested = interrupt.clone();
        let printer = printer.clone();
        ctrlc::set_handler(move || {
            let Flags {
                requested: before,
                at_once,
            } = &*requested.0;
            if before.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
            if at_once.load(Ordering::Relaxed) {
                printer.message("stopped; the same command begins again");
                std::process::exit(INTERRUPTED.into());
            }
            printer.message("stopping after this batch; press Ctrl-C again to end at once");
        })?;
        Ok(LISTENING.get_or_init(|| interrupt).clone())
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Says whether a request may end the program at once from now on, because nobody would look at it for long and
    /// nothing is lost.
    pub fn end_at_once(&self, allowed: bool) {
        self.0.at_once.store(allowed, Ordering::Relaxed);
    }
}
