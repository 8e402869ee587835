//! TLS with a password, a token or a certificate: each way in opens to its own key and to no other, and no key is shown.

use std::{path::PathBuf, sync::Arc};

use endcap_live::{
    EventProducer, EventSource as _, KafkaConfig, KafkaSink, KafkaSource, Oauth, PartitionOffset, Secret,
    TokenFrom, kafka::create_topics,
};

use super::{bounds, take};
use crate::world::events;

/// The ways into a broker that `kafka.sh run secure` starts.
pub(crate) struct Doors {
    pub(crate) sasl_ssl: String,
    pub(crate) ssl: String,
    /// Folder of the certificates.
    pub(crate) tls: PathBuf,
}

const PASSWORD: &str = "alice-secret";

/// `{"alg":"none"}` and `{"sub":"alice","iat":1,"exp":4102444800}`, without a signature, as the test broker takes it.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MSwiZXhwIjo0MTAyNDQ0ODAwfQ.";

pub(crate) async fn every_door_opens_to_its_key_alone(plain: &KafkaConfig, doors: &Doors) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let pem = |name: &str| doors.tls.join(name).display().to_string();
    let door = |address: &str, properties: &[(&str, &str)]| {
        let mut config = KafkaConfig { brokers: address.to_owned(), ..plain.clone() };
        (config.delivery_timeout_ms, config.create_topics.enabled) = (15_000, false);
        config.properties.0.insert("ssl.ca.location".into(), pem("ca.pem"));
        for (name, value) in properties {
            config.properties.0.insert((*name).into(), (*value).into());
        }
        config
    };
    let password = |mechanism: &str, password: &str| {
        let sasl =
            [("security.protocol", "SASL_SSL"), ("sasl.mechanism", mechanism), ("sasl.username", "alice")];
        let mut config = door(&doors.sasl_ssl, &sasl);
        config.secrets.insert("sasl.password".into(), Secret::File(file(mechanism, password)));
        config
    };
    let token = |token: TokenFrom| {
        let oauth = Some(Oauth { token, lifetime_ms: 60_000 });
        KafkaConfig { oauth, ..door(&doors.sasl_ssl, &[("security.protocol", "SASL_SSL")]) }
    };
    let certificate = |name: &str| {
        let (certificate, key) = (pem(&format!("{name}.pem")), pem("client.key"));
        let ssl = [
            ("security.protocol", "SSL"),
            ("ssl.certificate.location", certificate.as_str()),
            ("ssl.key.location", key.as_str()),
        ];
        door(&doors.ssl, &ssl)
    };

    let command = ["echo", TOKEN].map(str::to_owned).to_vec();
    let mut written = 0;
    for config in [
        password("PLAIN", &format!("{PASSWORD}\n")),
        password("SCRAM-SHA-512", PASSWORD),
        token(TokenFrom::File(file("token", TOKEN))),
        token(TokenFrom::Command(command)),
        certificate("client"),
    ] {
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert_eq!(create_topics(&config).await.unwrap(), Vec::<String>::new(), "they are all seen");
        let sink = Arc::new(KafkaSink::prompt(&config).unwrap());
        let producer = EventProducer::new(sink, config.topics.events.as_str());
        written += producer.write(events(written as u64, 20)).await.unwrap().len();
        let read = move || {
            let mut source = KafkaSource::new(&config, &config.topics.events).unwrap();
            let bounds = bounds(&mut source);
            let from: Vec<_> = bounds
                .iter()
                .map(|at| PartitionOffset { partition: at.partition, offset: at.first })
                .collect();
            source.assign(&from).unwrap();
            assert_eq!(take(&mut source, written).len(), written);
        };
        tokio::task::spawn_blocking(read).await.unwrap();
    }

    // No key, a wrong one, or a broker that cannot prove who it is: nothing gets in, and it is said why.
    let mut stranger = password("PLAIN", PASSWORD);
    stranger.properties.0.remove("ssl.ca.location");
    let mut nobody = certificate("client");
    for name in ["ssl.certificate.location", "ssl.key.location"] {
        nobody.properties.0.remove(name);
    }
    for (config, why) in [
        (password("SCRAM-SHA-512", "guess"), "uthentication"),
        (password("PLAIN", "guess"), "uthentication"),
        (token(TokenFrom::File(file("bad-token", "no-jwt"))), "uthentication"),
        (token(TokenFrom::File(dir.path().join("absent"))), "absent"),
        (stranger, "certificate"),
        (nobody, ""),
    ] {
        let config = KafkaConfig { delivery_timeout_ms: 3_000, ..config };
        let sink = Arc::new(KafkaSink::prompt(&config).unwrap());
        let producer = EventProducer::new(sink, config.topics.events.as_str());
        let error = producer.write(events(1, 1)).await.unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("guess"), "{why}: {error}");
        println!("refused: {error}");
    }
}
