//! `schema`: what a configuration may say, for editors.

use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::config;

/// Print the JSON Schema of a configuration, for editors
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidegate schema > tidegate.schema.json\n\nThen begin a configuration with\n  \
                        # yaml-language-server: $schema=tidegate.schema.json")]
pub(super) struct Schema {}

impl Schema {
    pub fn execute(self) -> ExitCode {
        print(&format!("{:#}\n", config::schema()));
        ExitCode::SUCCESS
    }
}
