//! Requests as JSON: proto3 JSON, and the event types by any name that the contract knows.
//!
//! proto3 JSON wants `EVENT_TYPE_ADD_TO_CART`; shops send `add_to_cart`, `Product Added`, `add-to-cart`. A body that is not
//! proto3 JSON as it is gets its event types renamed and is read once more.

use endcap_proto::EventType;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{ApiError, Code};

/// Reads a body.
///
/// # Errors
/// Names the place in the body and the rule.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if let Ok(message) = serde_json::from_slice(body) {
        return Ok(message);
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|error| invalid("body", &error))?;
    rename_event_types(&mut value);
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        invalid(if path == "." { "body" } else { &path }, error.inner())
    })
}

fn invalid(field: &str, error: &serde_json::Error) -> ApiError {
    let rule = error.to_string();
    ApiError::about(Code::InvalidArgument, format!("{field}: {rule}"), field, rule)
}

/// Renames the `type` of every object that has one and is an event's or a context's.
fn rename_event_types(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "type" => {
                        if let Ok(event_type) = text.parse::<EventType>() {
                            *text = format!("EVENT_TYPE_{}", event_type.as_str().to_uppercase());
                        }
                    }
                    // A shop's own attributes are its own.
                    _ if name == "attributes" || name == "labels" => {}
                    _ => rename_event_types(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(rename_event_types),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use endcap_proto::v1;

    use super::*;

    #[test]
    fn event_types_go_by_any_of_their_names() {
        for name in ["EVENT_TYPE_ADD_TO_CART", "add_to_cart", "Product Added", "add-to-cart"] {
            let body = format!(r#"{{"events": [{{"type": "{name}", "attributes": {{"type": "view"}}}}]}}"#);
            let request: v1::WriteEventsRequest = read(body.as_bytes()).unwrap();
            assert_eq!(request.events[0].r#type, v1::EventType::AddToCart as i32);
            assert_eq!(request.events[0].attributes["type"], "view");
        }
    }

    #[test]
    fn errors_name_the_place() {
        let field = |body: &str| {
            let error = read::<v1::RecommendRequest>(body.as_bytes()).unwrap_err();
            (error.code, error.violations[0].field.clone())
        };
        assert_eq!(field("{"), (Code::InvalidArgument, "body".into()));
        assert_eq!(field("[]"), (Code::InvalidArgument, "body".into()));
        assert_eq!(field(r#"{"pageSizee": 3}"#), (Code::InvalidArgument, "pageSizee".into()));
        assert_eq!(field(r#"{"pageSize": "many"}"#), (Code::InvalidArgument, "pageSize".into()));
        assert_eq!(
            field(r#"{"recentEvents": [{}, {"type": "licked"}]}"#),
            (Code::InvalidArgument, "recentEvents[1].type".into())
        );
        assert_eq!(field(r#"{"context": {"colour": 1}}"#), (Code::InvalidArgument, "context.colour".into()));
    }
}
