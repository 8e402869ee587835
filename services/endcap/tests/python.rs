//! A storefront in Python, with stubs made from the published proto, calls a running service.

mod program;
mod shop;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use endcap_live::MockBroker;
use program::{Service, settings};
use serde_json::Value;
use shop::{fixture, skip};

/// A Python that has the client's requirements, in a folder that later runs use again; or what is lacking.
fn python(sources: &Path) -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("python-client");
    let (python, installed) = (dir.join("bin/python"), dir.join("installed.txt"));
    let requirements = sources.join("requirements.txt");
    let wanted = fs::read(&requirements).unwrap();
    if fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&dir);
    said(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"];
    said(Command::new(&python).args(pip).arg(&requirements))?;
    fs::write(installed, wanted).unwrap();
    Ok(python)
}

/// What a command printed; or, where it failed, why.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = command.output().map_err(|error| format!("{name}: {error}"))?;
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(out.into_owned()) } else { Err(format!("{name}: {status}: {out}{err}")) }
}

#[test]
fn a_client_in_python_gets_a_slate_and_a_reason_for_a_refusal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = root.join("tests/python");
    let python = match python(&sources) {
        Ok(python) => python,
        Err(lacking) => {
            println!("{lacking}");
            return skip("python", "python3 with venv, and pip", &lacking);
        }
    };
    let shop = fixture();
    let broker = MockBroker::start(1).unwrap();
    let state = tempfile::tempdir().unwrap();
    let service = Service::start(&settings(broker.config(), &shop.bundles, state.path()));
    let mut client = Command::new(python);
    client.arg(sources.join("client.py")).arg(root.join("../../proto"));
    let printed = said(client.args([&service.address().to_string(), "anna"])).unwrap();
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [slate, refusal] = &lines[..] else { panic!("{printed}") };

    let results = slate["results"].as_array().unwrap();
    assert_eq!(results.len(), 5, "{slate}");
    for result in results {
        let id = result["item_id"].as_str().unwrap();
        let item = shop.shop.items().iter().find(|item| item.id.as_str() == id).unwrap();
        assert_eq!(result["title"].as_str(), item.title.as_deref());
        assert!((f64::MIN_POSITIVE..=1.0).contains(&result["propensity"].as_f64().unwrap()), "{result}");
    }
    assert_eq!(slate["bundle"], shop.version);
    assert!(!slate["attribution_token"].as_str().unwrap().is_empty());
    assert_eq!(refusal["code"], "INVALID_ARGUMENT");
    assert_eq!(refusal["message"], "page_size: must not be negative, is -1");
    service.stop();
}
