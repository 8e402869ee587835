//! A real MinIO, which `deploy/minio/minio.sh` starts. Building it takes minutes, so it is not built here: `minio.sh
//! build` does that. Where it is not there a test says so and passes, unless `ENDCAP_REQUIRE` names `minio`.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::shop::skip;

/// The bucket that is there.
pub const BUCKET: &str = "shop";

/// A server, for as long as this is held.
pub struct Minio {
    address: String,
    dir: TempDir,
}

impl Minio {
    /// Starts one with a bucket; `None` where it is not built.
    pub fn start() -> Option<Self> {
        let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
        let required = required.split([',', ' ']).any(|name| name == "minio");
        if !required && !is_built() {
            skip("minio", "`bash deploy/minio/minio.sh build`: Go and five minutes", "it is not built");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let address = tell(&["start", dir.path().to_str().unwrap()]);
        assert!(address.contains(':'), "minio.sh started no server");
        let minio = Self { address, dir };
        tell(&["bucket", &minio.address, BUCKET]);
        Some(minio)
    }

    /// Kills it; what it has answered stays.
    pub fn kill(&self) {
        tell(&["kill", self.dir.path().to_str().unwrap()]);
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        assert_eq!(tell(&["start", self.dir.path().to_str().unwrap()]), self.address);
    }

    /// `s3://bucket/name`.
    pub fn place(name: &str) -> String {
        format!("s3://{BUCKET}/{name}")
    }

    /// `--set` entries that reach it.
    pub fn settings(&self, staging: &Path) -> Vec<String> {
        let entries = [
            format!("archive.s3.endpoint=http://{}", self.address),
            "archive.s3.region=us-east-1".to_owned(),
            "archive.s3.allow_http=true".to_owned(),
            "archive.s3.retry_timeout_ms=2000".to_owned(),
            format!("archive.s3.access_key_id={{ file = {:?} }}", self.secret("endcap")),
            format!("archive.s3.secret_access_key={{ file = {:?} }}", self.secret("endcap-secret")),
            format!("archive.staging_path={}", staging.display()),
        ];
        entries.into_iter().flat_map(|entry| ["--set".to_owned(), entry]).collect()
    }

    /// A file with a secret in it.
    fn secret(&self, secret: &str) -> PathBuf {
        let file = self.dir.path().join(format!("{secret}.secret"));
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        file
    }

    /// The objects below a prefix.
    pub fn objects(&self, below: &str) -> Vec<PathBuf> {
        // MinIO keeps an object as a folder of its name with its parts in it.
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join("data").join(BUCKET).join(below)];
        while let Some(folder) = folders.pop() {
            if folder.join("xl.meta").is_file() {
                found.push(folder);
                continue;
            }
            let inner = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
            folders.extend(inner.filter(|path| path.is_dir()));
        }
        found.sort();
        found
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        self.kill();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/minio/minio.sh")
}

fn is_built() -> bool {
    Command::new("bash").arg(script()).arg("built").status().is_ok_and(|status| status.success())
}

fn tell(args: &[&str]) -> String {
    let output = Command::new("bash").arg(script()).args(args).output().unwrap();
    assert!(output.status.success(), "minio.sh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
