//! Where an archive lies: a folder, or a bucket of what speaks S3.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Secret;

const S3: &str = "s3://";

/// Where an archive lies. As text: a path, or `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket, and what the names in it begin with.
    Bucket {
        /// Which bucket.
        bucket: String,
        /// Without a slash at either end; may be empty.
        prefix: String,
    },
}

/// An address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {rule}")]
pub struct LocationError {
    text: String,
    rule: &'static str,
}

/// How to reach a bucket. What is not said here comes from the environment, by Amazon's names
/// (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …), or from the machine's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Address of the server, `https://minio.internal:9000`; Amazon's for the region when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the id of the access key lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// Where its secret lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Talk to a server that does not encrypt.
    pub allow_http: bool,
    /// How long a request is tried again before it counts as failed, in milliseconds.
    pub retry_timeout_ms: u64,
}

// === impl Location ===

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let refuse = |rule| LocationError { text: text.to_owned(), rule };
        let Some(address) = text.strip_prefix(S3) else {
            return match text.split_once("://") {
                _ if text.is_empty() => Err(refuse("must not be empty")),
                Some(_) => Err(refuse("must be a folder, or s3://bucket/prefix")),
                None => Ok(Self::Folder(text.into())),
            };
        };
        let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() {
            return Err(refuse("must name a bucket: s3://bucket/prefix"));
        }
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("must not have empty parts, `.` or `..` in its prefix"));
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Folder(path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "{S3}{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "{S3}{bucket}/{prefix}"),
        }
    }
}

// === impl S3Config ===

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
            retry_timeout_ms: 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_folder_or_a_bucket_and_reads_as_it_was_written() {
        let read = |text: &str| text.parse::<Location>();
        let bucket =
            |bucket: &str, prefix: &str| Location::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(read("/data/archive"), Ok(Location::Folder("/data/archive".into())));
        assert_eq!(read("s3://shop"), Ok(bucket("shop", "")));
        assert_eq!(read("s3://shop/a/b/"), Ok(bucket("shop", "a/b")));
        for text in ["archive", "s3://shop", "s3://shop/a/b"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        for (text, word) in
            [("", "empty"), ("gs://shop", "s3://"), ("s3://", "bucket"), ("s3://shop/a/../b", "`..`")]
        {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_configuration_shows_where_secrets_lie_and_never_what_they_are() {
        let json = serde_json::json!({
            "endpoint": "http://localhost:9000", "secret_access_key": {"env": "ENDCAP_TEST_S3_SECRET"},
        });
        let config: S3Config = serde_json::from_value(json).unwrap();
        assert_eq!(config.secret_access_key, Some(Secret::Env("ENDCAP_TEST_S3_SECRET".into())));
        let written = serde_json::json!({"secret_access_key": "hunter2"});
        assert!(serde_json::from_value::<S3Config>(written).is_err(), "a secret itself is no place for it");
    }
}
