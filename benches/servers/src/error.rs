//! What goes wrong ends the program, with a text.

use std::error::Error;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
