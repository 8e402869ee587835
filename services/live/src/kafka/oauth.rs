//! Tokens for SASL OAUTHBEARER, from a file that something else renews or from a command.
//!
//! librdkafka asks for a new one when four fifths of the life of the last one are over. How long a token lives
//! and whose it is stands in it, where it is a JWT (RFC 7519).

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::{KafkaConfig, Oauth, TokenFrom};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a client gets its tokens.
pub(super) struct Tokens {
    oauth: Option<Oauth>,
    /// Whose they are, where they do not say.
    principal: String,
}

/// There is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("kafka.oauth.token: {0}")]
pub(super) struct NoToken(String);

/// What is read of a JWT.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

impl Tokens {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Self { oauth: config.oauth.clone(), principal: config.client_id.clone() }
    }

    /// A token as it is now.
    pub(super) fn token(&self) -> Result<OAuthToken, NoToken> {
        let oauth = self.oauth.as_ref().ok_or_else(|| {
            NoToken("is not set, and the mechanism is OAUTHBEARER; name a file or a command".to_owned())
        })?;
        let token = match &oauth.token {
            TokenFrom::File(path) => std::fs::read_to_string(path)
                .map_err(|error| NoToken(format!("cannot read {}: {error}", path.display())))?,
            TokenFrom::Command(words) => run(words)?,
        };
        let token = token.trim();
        if token.is_empty() || token.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(NoToken("what was read is no token: it is empty, or holds white space".to_owned()));
        }
        let claims = claims(token);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = claims.as_ref().and_then(|claims| claims.exp).map(|seconds| (seconds * 1e3) as i64);
        let assumed = since.as_millis() as i64 + i64::try_from(oauth.lifetime_ms).unwrap_or(i64::MAX / 2);
        Ok(OAuthToken {
            token: token.to_owned(),
            principal_name: claims.and_then(|claims| claims.sub).unwrap_or_else(|| self.principal.clone()),
            lifetime_ms: expiry.unwrap_or(assumed),
        })
    }
}

/// What a token says of itself, where it is a JWT. It is the broker that checks it.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

/// What a command prints. What it says on standard error is shown where it fails.
fn run(words: &[String]) -> Result<String, NoToken> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| NoToken("the command is empty".to_owned()))?;
    let failed = |what: String| NoToken(format!("{program}: {what}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("did not end within {PATIENCE:?}")));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        pipe.map(|pipe| pipe.take(1 << 16).read_to_string(&mut text)).transpose().map(|_| text)
    };
    if !status.success() {
        let said = read(child.stderr.as_mut().map(|pipe| pipe as _)).unwrap_or_default();
        return Err(failed(format!("{status}: {}", said.trim())));
    }
    read(child.stdout.as_mut().map(|pipe| pipe as _)).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(token: TokenFrom) -> Tokens {
        Tokens { oauth: Some(Oauth { token, lifetime_ms: 60_000 }), principal: "endcap".to_owned() }
    }

    #[test]
    fn a_jwt_says_whose_it_is_and_how_long_it_lives() {
        let jwt = format!("e30.{}.", URL_SAFE_NO_PAD.encode(r#"{"sub":"shop","exp":2000000000.5}"#));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, format!("{jwt}\n")).unwrap();
        let token = tokens(TokenFrom::File(path)).token().unwrap();
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("shop", 2_000_000_000_500));
        assert_eq!(token.token, jwt);
    }

    #[test]
    fn an_opaque_token_of_a_command_lives_as_long_as_configured() {
        let token =
            tokens(TokenFrom::Command(["echo", "opaque"].map(String::from).to_vec())).token().unwrap();
        assert_eq!((token.token.as_str(), token.principal_name.as_str()), ("opaque", "endcap"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!(token.lifetime_ms <= now + 60_000 && token.lifetime_ms > now);
    }

    #[test]
    fn what_fails_says_what_and_never_shows_a_token() {
        let failed = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            tokens(TokenFrom::Command(words)).token().err().unwrap().to_string()
        };
        let said = failed(&["sh", "-c", "echo sesame; echo expired >&2; exit 3"]);
        assert!(said.contains("expired") && said.contains("3") && !said.contains("sesame"), "{said}");
        assert!(failed(&["/no/such/program"]).contains("/no/such/program"));
        assert!(failed(&["echo", "two words"]).contains("no token"));
        assert!(failed(&[]).contains("empty"));
    }
}
