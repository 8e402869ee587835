//! A real Redis, which `deploy/redis/redis.sh` starts.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A Redis server, which ends with this.
pub struct Redis {
    /// host:port.
    pub address: String,
    script: Child,
}

impl Redis {
    /// Starts one; `None` where this machine has none, which is said.
    pub fn start() -> Option<Self> {
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there {
            let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
            let is_required = required.split([',', ' ']).any(|name| name == "redis");
            assert!(!is_required, "redis is required (redis-server 7), and there is none");
            println!("SKIPPED: needs redis (redis-server 7)");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/redis.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains(':'), "redis.sh started no server");
        Some(Self { address: address.trim().to_owned(), script })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.script.stdin.take()); // which ends it
        let _ = self.script.wait();
    }
}
