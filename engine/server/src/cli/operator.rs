//! `estafette operator`

use super::output::{Column, list_of, text};
use super::{CliError, Context};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Make an operator without addresses and mailbox; a password is made and shown once
    Create {
        /// The login; does not end with a digit
        username: String,
        /// The person's name
        #[arg(long, default_value = "")]
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all who may do everything
    List,
}

const COLUMNS: [Column<'_>; 4] = [
    ("USERNAME", |v| text(v, "username")),
    ("DOMAIN", |v| text(v, "domain")),
    ("NAME", |v| text(v, "real_name")),
    ("DISABLED", |v| text(v, "disabled")),
];

impl OperatorCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        match self {
            OperatorCommand::Create { username, name, password_stdin } => {
                let mut body = json!({ "username": username, "real_name": name });
                if let (true, Some(fields)) = (password_stdin, body.as_object_mut()) {
                    fields.insert("password".to_owned(), super::password_from_stdin()?.into());
                }
                let made = client.call(Method::POST, "/operators", Some(&body)).await?;
                let account = made.get("account").unwrap_or(&Value::Null);
                let mut sentence = format!("operator {} created", text(account, "username"));
                let password = text(&made, "password");
                if !password.is_empty() {
                    sentence.push_str(&format!(" with the password {password}"));
                }
                context.output.done(&made, &sentence)
            }
            OperatorCommand::List => {
                let page = client.get("/operators").await?;
                let items = list_of(&page, "items");
                context.output.list(&items, &COLUMNS)
            }
        }
    }
}
