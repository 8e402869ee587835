impl serde::Serialize for ActivateBundleRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.version.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ActivateBundleRequest", len)?;
        if !self.version.is_empty() {
            struct_ser.serialize_field("version", &self.version)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ActivateBundleRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "version",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Version,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "version" => Ok(GeneratedField::Version),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ActivateBundleRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ActivateBundleRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ActivateBundleRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut version__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Version => {
                            if version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("version"));
                            }
                            version__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ActivateBundleRequest {
                    version: version__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ActivateBundleRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ActivateBundleResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.bundle.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ActivateBundleResponse", len)?;
        if let Some(v) = self.bundle.as_ref() {
            struct_ser.serialize_field("bundle", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ActivateBundleResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "bundle",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Bundle,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "bundle" => Ok(GeneratedField::Bundle),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ActivateBundleResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ActivateBundleResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ActivateBundleResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut bundle__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Bundle => {
                            if bundle__.is_some() {
                                return Err(serde::de::Error::duplicate_field("bundle"));
                            }
                            bundle__ = map_.next_value()?;
                        }
                    }
                }
                Ok(ActivateBundleResponse {
                    bundle: bundle__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ActivateBundleResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Attribute {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.value.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Attribute", len)?;
        if let Some(v) = self.value.as_ref() {
            match v {
                attribute::Value::Text(v) => {
                    struct_ser.serialize_field("text", v)?;
                }
                attribute::Value::Number(v) => {
                    struct_ser.serialize_field("number", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Attribute {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "text",
            "number",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Text,
            Number,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "text" => Ok(GeneratedField::Text),
                            "number" => Ok(GeneratedField::Number),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Attribute;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Attribute")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Attribute, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut value__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Text => {
                            if value__.is_some() {
                                return Err(serde::de::Error::duplicate_field("text"));
                            }
                            value__ = map_.next_value::<::std::option::Option<_>>()?.map(attribute::Value::Text);
                        }
                        GeneratedField::Number => {
                            if value__.is_some() {
                                return Err(serde::de::Error::duplicate_field("number"));
                            }
                            value__ = map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| attribute::Value::Number(x.0));
                        }
                    }
                }
                Ok(Attribute {
                    value: value__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Attribute", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Availability {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "AVAILABILITY_UNSPECIFIED",
            Self::InStock => "AVAILABILITY_IN_STOCK",
            Self::OutOfStock => "AVAILABILITY_OUT_OF_STOCK",
            Self::Preorder => "AVAILABILITY_PREORDER",
            Self::Discontinued => "AVAILABILITY_DISCONTINUED",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Availability {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "AVAILABILITY_UNSPECIFIED",
            "AVAILABILITY_IN_STOCK",
            "AVAILABILITY_OUT_OF_STOCK",
            "AVAILABILITY_PREORDER",
            "AVAILABILITY_DISCONTINUED",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Availability;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "AVAILABILITY_UNSPECIFIED" => Ok(Availability::Unspecified),
                    "AVAILABILITY_IN_STOCK" => Ok(Availability::InStock),
                    "AVAILABILITY_OUT_OF_STOCK" => Ok(Availability::OutOfStock),
                    "AVAILABILITY_PREORDER" => Ok(Availability::Preorder),
                    "AVAILABILITY_DISCONTINUED" => Ok(Availability::Discontinued),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Bundle {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.version.is_empty() {
            len += 1;
        }
        if self.create_time.is_some() {
            len += 1;
        }
        if self.active {
            len += 1;
        }
        if self.items != 0 {
            len += 1;
        }
        if !self.metrics.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Bundle", len)?;
        if !self.version.is_empty() {
            struct_ser.serialize_field("version", &self.version)?;
        }
        if let Some(v) = self.create_time.as_ref() {
            struct_ser.serialize_field("createTime", v)?;
        }
        if self.active {
            struct_ser.serialize_field("active", &self.active)?;
        }
        if self.items != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("items", ToString::to_string(&self.items).as_str())?;
        }
        if !self.metrics.is_empty() {
            struct_ser.serialize_field("metrics", &self.metrics)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Bundle {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "version",
            "create_time",
            "createTime",
            "active",
            "items",
            "metrics",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Version,
            CreateTime,
            Active,
            Items,
            Metrics,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "version" => Ok(GeneratedField::Version),
                            "createTime" | "create_time" => Ok(GeneratedField::CreateTime),
                            "active" => Ok(GeneratedField::Active),
                            "items" => Ok(GeneratedField::Items),
                            "metrics" => Ok(GeneratedField::Metrics),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Bundle;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Bundle")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Bundle, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut version__ = None;
                let mut create_time__ = None;
                let mut active__ = None;
                let mut items__ = None;
                let mut metrics__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Version => {
                            if version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("version"));
                            }
                            version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::CreateTime => {
                            if create_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("createTime"));
                            }
                            create_time__ = map_.next_value()?;
                        }
                        GeneratedField::Active => {
                            if active__.is_some() {
                                return Err(serde::de::Error::duplicate_field("active"));
                            }
                            active__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Metrics => {
                            if metrics__.is_some() {
                                return Err(serde::de::Error::duplicate_field("metrics"));
                            }
                            metrics__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, ::pbjson::private::NumberDeserialize<f64>>>()?
                                    .into_iter().map(|(k,v)| (k, v.0)).collect()
                            );
                        }
                    }
                }
                Ok(Bundle {
                    version: version__.unwrap_or_default(),
                    create_time: create_time__,
                    active: active__.unwrap_or_default(),
                    items: items__.unwrap_or_default(),
                    metrics: metrics__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Bundle", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Context {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.r#type != 0 {
            len += 1;
        }
        if !self.item_ids.is_empty() {
            len += 1;
        }
        if !self.cart_item_ids.is_empty() {
            len += 1;
        }
        if !self.page_categories.is_empty() {
            len += 1;
        }
        if !self.search_query.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Context", len)?;
        if self.r#type != 0 {
            let v = EventType::try_from(self.r#type)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.r#type)))?;
            struct_ser.serialize_field("type", &v)?;
        }
        if !self.item_ids.is_empty() {
            struct_ser.serialize_field("itemIds", &self.item_ids)?;
        }
        if !self.cart_item_ids.is_empty() {
            struct_ser.serialize_field("cartItemIds", &self.cart_item_ids)?;
        }
        if !self.page_categories.is_empty() {
            struct_ser.serialize_field("pageCategories", &self.page_categories)?;
        }
        if !self.search_query.is_empty() {
            struct_ser.serialize_field("searchQuery", &self.search_query)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Context {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "type",
            "item_ids",
            "itemIds",
            "cart_item_ids",
            "cartItemIds",
            "page_categories",
            "pageCategories",
            "search_query",
            "searchQuery",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Type,
            ItemIds,
            CartItemIds,
            PageCategories,
            SearchQuery,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "type" => Ok(GeneratedField::Type),
                            "itemIds" | "item_ids" => Ok(GeneratedField::ItemIds),
                            "cartItemIds" | "cart_item_ids" => Ok(GeneratedField::CartItemIds),
                            "pageCategories" | "page_categories" => Ok(GeneratedField::PageCategories),
                            "searchQuery" | "search_query" => Ok(GeneratedField::SearchQuery),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Context;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Context")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Context, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut r#type__ = None;
                let mut item_ids__ = None;
                let mut cart_item_ids__ = None;
                let mut page_categories__ = None;
                let mut search_query__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Type => {
                            if r#type__.is_some() {
                                return Err(serde::de::Error::duplicate_field("type"));
                            }
                            r#type__ = Some(map_.next_value::<EventType>()? as i32);
                        }
                        GeneratedField::ItemIds => {
                            if item_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemIds"));
                            }
                            item_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::CartItemIds => {
                            if cart_item_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cartItemIds"));
                            }
                            cart_item_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::PageCategories => {
                            if page_categories__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageCategories"));
                            }
                            page_categories__ = Some(map_.next_value()?);
                        }
                        GeneratedField::SearchQuery => {
                            if search_query__.is_some() {
                                return Err(serde::de::Error::duplicate_field("searchQuery"));
                            }
                            search_query__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Context {
                    r#type: r#type__.unwrap_or_default(),
                    item_ids: item_ids__.unwrap_or_default(),
                    cart_item_ids: cart_item_ids__.unwrap_or_default(),
                    page_categories: page_categories__.unwrap_or_default(),
                    search_query: search_query__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Context", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for DeleteItemsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.item_ids.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.DeleteItemsRequest", len)?;
        if !self.item_ids.is_empty() {
            struct_ser.serialize_field("itemIds", &self.item_ids)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for DeleteItemsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "item_ids",
            "itemIds",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ItemIds,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "itemIds" | "item_ids" => Ok(GeneratedField::ItemIds),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = DeleteItemsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.DeleteItemsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<DeleteItemsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut item_ids__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ItemIds => {
                            if item_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemIds"));
                            }
                            item_ids__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(DeleteItemsRequest {
                    item_ids: item_ids__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.DeleteItemsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for DeleteItemsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.deleted != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.DeleteItemsResponse", len)?;
        if self.deleted != 0 {
            struct_ser.serialize_field("deleted", &self.deleted)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for DeleteItemsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "deleted",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Deleted,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "deleted" => Ok(GeneratedField::Deleted),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = DeleteItemsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.DeleteItemsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<DeleteItemsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut deleted__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Deleted => {
                            if deleted__.is_some() {
                                return Err(serde::de::Error::duplicate_field("deleted"));
                            }
                            deleted__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(DeleteItemsResponse {
                    deleted: deleted__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.DeleteItemsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Diversity {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "DIVERSITY_UNSPECIFIED",
            Self::None => "DIVERSITY_NONE",
            Self::Low => "DIVERSITY_LOW",
            Self::Medium => "DIVERSITY_MEDIUM",
            Self::High => "DIVERSITY_HIGH",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Diversity {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "DIVERSITY_UNSPECIFIED",
            "DIVERSITY_NONE",
            "DIVERSITY_LOW",
            "DIVERSITY_MEDIUM",
            "DIVERSITY_HIGH",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Diversity;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "DIVERSITY_UNSPECIFIED" => Ok(Diversity::Unspecified),
                    "DIVERSITY_NONE" => Ok(Diversity::None),
                    "DIVERSITY_LOW" => Ok(Diversity::Low),
                    "DIVERSITY_MEDIUM" => Ok(Diversity::Medium),
                    "DIVERSITY_HIGH" => Ok(Diversity::High),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Event {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.event_id.is_empty() {
            len += 1;
        }
        if self.r#type != 0 {
            len += 1;
        }
        if self.event_time.is_some() {
            len += 1;
        }
        if !self.visitor_id.is_empty() {
            len += 1;
        }
        if !self.user_id.is_empty() {
            len += 1;
        }
        if !self.session_id.is_empty() {
            len += 1;
        }
        if !self.items.is_empty() {
            len += 1;
        }
        if self.transaction.is_some() {
            len += 1;
        }
        if !self.search_query.is_empty() {
            len += 1;
        }
        if !self.page_categories.is_empty() {
            len += 1;
        }
        if !self.placement.is_empty() {
            len += 1;
        }
        if !self.attribution_token.is_empty() {
            len += 1;
        }
        if !self.experiment_ids.is_empty() {
            len += 1;
        }
        if !self.attributes.is_empty() {
            len += 1;
        }
        if self.consent {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Event", len)?;
        if !self.event_id.is_empty() {
            struct_ser.serialize_field("eventId", &self.event_id)?;
        }
        if self.r#type != 0 {
            let v = EventType::try_from(self.r#type)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.r#type)))?;
            struct_ser.serialize_field("type", &v)?;
        }
        if let Some(v) = self.event_time.as_ref() {
            struct_ser.serialize_field("eventTime", v)?;
        }
        if !self.visitor_id.is_empty() {
            struct_ser.serialize_field("visitorId", &self.visitor_id)?;
        }
        if !self.user_id.is_empty() {
            struct_ser.serialize_field("userId", &self.user_id)?;
        }
        if !self.session_id.is_empty() {
            struct_ser.serialize_field("sessionId", &self.session_id)?;
        }
        if !self.items.is_empty() {
            struct_ser.serialize_field("items", &self.items)?;
        }
        if let Some(v) = self.transaction.as_ref() {
            struct_ser.serialize_field("transaction", v)?;
        }
        if !self.search_query.is_empty() {
            struct_ser.serialize_field("searchQuery", &self.search_query)?;
        }
        if !self.page_categories.is_empty() {
            struct_ser.serialize_field("pageCategories", &self.page_categories)?;
        }
        if !self.placement.is_empty() {
            struct_ser.serialize_field("placement", &self.placement)?;
        }
        if !self.attribution_token.is_empty() {
            struct_ser.serialize_field("attributionToken", &self.attribution_token)?;
        }
        if !self.experiment_ids.is_empty() {
            struct_ser.serialize_field("experimentIds", &self.experiment_ids)?;
        }
        if !self.attributes.is_empty() {
            struct_ser.serialize_field("attributes", &self.attributes)?;
        }
        if self.consent {
            struct_ser.serialize_field("consent", &self.consent)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Event {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "event_id",
            "eventId",
            "type",
            "event_time",
            "eventTime",
            "visitor_id",
            "visitorId",
            "user_id",
            "userId",
            "session_id",
            "sessionId",
            "items",
            "transaction",
            "search_query",
            "searchQuery",
            "page_categories",
            "pageCategories",
            "placement",
            "attribution_token",
            "attributionToken",
            "experiment_ids",
            "experimentIds",
            "attributes",
            "consent",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            EventId,
            Type,
            EventTime,
            VisitorId,
            UserId,
            SessionId,
            Items,
            Transaction,
            SearchQuery,
            PageCategories,
            Placement,
            AttributionToken,
            ExperimentIds,
            Attributes,
            Consent,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "eventId" | "event_id" => Ok(GeneratedField::EventId),
                            "type" => Ok(GeneratedField::Type),
                            "eventTime" | "event_time" => Ok(GeneratedField::EventTime),
                            "visitorId" | "visitor_id" => Ok(GeneratedField::VisitorId),
                            "userId" | "user_id" => Ok(GeneratedField::UserId),
                            "sessionId" | "session_id" => Ok(GeneratedField::SessionId),
                            "items" => Ok(GeneratedField::Items),
                            "transaction" => Ok(GeneratedField::Transaction),
                            "searchQuery" | "search_query" => Ok(GeneratedField::SearchQuery),
                            "pageCategories" | "page_categories" => Ok(GeneratedField::PageCategories),
                            "placement" => Ok(GeneratedField::Placement),
                            "attributionToken" | "attribution_token" => Ok(GeneratedField::AttributionToken),
                            "experimentIds" | "experiment_ids" => Ok(GeneratedField::ExperimentIds),
                            "attributes" => Ok(GeneratedField::Attributes),
                            "consent" => Ok(GeneratedField::Consent),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Event;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Event")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Event, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut event_id__ = None;
                let mut r#type__ = None;
                let mut event_time__ = None;
                let mut visitor_id__ = None;
                let mut user_id__ = None;
                let mut session_id__ = None;
                let mut items__ = None;
                let mut transaction__ = None;
                let mut search_query__ = None;
                let mut page_categories__ = None;
                let mut placement__ = None;
                let mut attribution_token__ = None;
                let mut experiment_ids__ = None;
                let mut attributes__ = None;
                let mut consent__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::EventId => {
                            if event_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("eventId"));
                            }
                            event_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Type => {
                            if r#type__.is_some() {
                                return Err(serde::de::Error::duplicate_field("type"));
                            }
                            r#type__ = Some(map_.next_value::<EventType>()? as i32);
                        }
                        GeneratedField::EventTime => {
                            if event_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("eventTime"));
                            }
                            event_time__ = map_.next_value()?;
                        }
                        GeneratedField::VisitorId => {
                            if visitor_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("visitorId"));
                            }
                            visitor_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::UserId => {
                            if user_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("userId"));
                            }
                            user_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::SessionId => {
                            if session_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sessionId"));
                            }
                            session_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Transaction => {
                            if transaction__.is_some() {
                                return Err(serde::de::Error::duplicate_field("transaction"));
                            }
                            transaction__ = map_.next_value()?;
                        }
                        GeneratedField::SearchQuery => {
                            if search_query__.is_some() {
                                return Err(serde::de::Error::duplicate_field("searchQuery"));
                            }
                            search_query__ = Some(map_.next_value()?);
                        }
                        GeneratedField::PageCategories => {
                            if page_categories__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageCategories"));
                            }
                            page_categories__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Placement => {
                            if placement__.is_some() {
                                return Err(serde::de::Error::duplicate_field("placement"));
                            }
                            placement__ = Some(map_.next_value()?);
                        }
                        GeneratedField::AttributionToken => {
                            if attribution_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("attributionToken"));
                            }
                            attribution_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ExperimentIds => {
                            if experiment_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("experimentIds"));
                            }
                            experiment_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Attributes => {
                            if attributes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("attributes"));
                            }
                            attributes__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                        GeneratedField::Consent => {
                            if consent__.is_some() {
                                return Err(serde::de::Error::duplicate_field("consent"));
                            }
                            consent__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Event {
                    event_id: event_id__.unwrap_or_default(),
                    r#type: r#type__.unwrap_or_default(),
                    event_time: event_time__,
                    visitor_id: visitor_id__.unwrap_or_default(),
                    user_id: user_id__.unwrap_or_default(),
                    session_id: session_id__.unwrap_or_default(),
                    items: items__.unwrap_or_default(),
                    transaction: transaction__,
                    search_query: search_query__.unwrap_or_default(),
                    page_categories: page_categories__.unwrap_or_default(),
                    placement: placement__.unwrap_or_default(),
                    attribution_token: attribution_token__.unwrap_or_default(),
                    experiment_ids: experiment_ids__.unwrap_or_default(),
                    attributes: attributes__.unwrap_or_default(),
                    consent: consent__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Event", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for EventItem {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.item_id.is_empty() {
            len += 1;
        }
        if self.quantity.is_some() {
            len += 1;
        }
        if self.unit_price.is_some() {
            len += 1;
        }
        if self.position.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.EventItem", len)?;
        if !self.item_id.is_empty() {
            struct_ser.serialize_field("itemId", &self.item_id)?;
        }
        if let Some(v) = self.quantity.as_ref() {
            struct_ser.serialize_field("quantity", v)?;
        }
        if let Some(v) = self.unit_price.as_ref() {
            struct_ser.serialize_field("unitPrice", v)?;
        }
        if let Some(v) = self.position.as_ref() {
            struct_ser.serialize_field("position", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for EventItem {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "item_id",
            "itemId",
            "quantity",
            "unit_price",
            "unitPrice",
            "position",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ItemId,
            Quantity,
            UnitPrice,
            Position,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "itemId" | "item_id" => Ok(GeneratedField::ItemId),
                            "quantity" => Ok(GeneratedField::Quantity),
                            "unitPrice" | "unit_price" => Ok(GeneratedField::UnitPrice),
                            "position" => Ok(GeneratedField::Position),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = EventItem;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.EventItem")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<EventItem, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut item_id__ = None;
                let mut quantity__ = None;
                let mut unit_price__ = None;
                let mut position__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ItemId => {
                            if item_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemId"));
                            }
                            item_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Quantity => {
                            if quantity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("quantity"));
                            }
                            quantity__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::UnitPrice => {
                            if unit_price__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unitPrice"));
                            }
                            unit_price__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Position => {
                            if position__.is_some() {
                                return Err(serde::de::Error::duplicate_field("position"));
                            }
                            position__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                    }
                }
                Ok(EventItem {
                    item_id: item_id__.unwrap_or_default(),
                    quantity: quantity__,
                    unit_price: unit_price__,
                    position: position__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.EventItem", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for EventType {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "EVENT_TYPE_UNSPECIFIED",
            Self::Impression => "EVENT_TYPE_IMPRESSION",
            Self::Click => "EVENT_TYPE_CLICK",
            Self::View => "EVENT_TYPE_VIEW",
            Self::AddToCart => "EVENT_TYPE_ADD_TO_CART",
            Self::RemoveFromCart => "EVENT_TYPE_REMOVE_FROM_CART",
            Self::AddToWishlist => "EVENT_TYPE_ADD_TO_WISHLIST",
            Self::CartView => "EVENT_TYPE_CART_VIEW",
            Self::Checkout => "EVENT_TYPE_CHECKOUT",
            Self::Purchase => "EVENT_TYPE_PURCHASE",
            Self::Refund => "EVENT_TYPE_REFUND",
            Self::Search => "EVENT_TYPE_SEARCH",
            Self::HomeView => "EVENT_TYPE_HOME_VIEW",
            Self::CategoryView => "EVENT_TYPE_CATEGORY_VIEW",
            Self::Dismiss => "EVENT_TYPE_DISMISS",
            Self::Rate => "EVENT_TYPE_RATE",
            Self::Login => "EVENT_TYPE_LOGIN",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for EventType {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "EVENT_TYPE_UNSPECIFIED",
            "EVENT_TYPE_IMPRESSION",
            "EVENT_TYPE_CLICK",
            "EVENT_TYPE_VIEW",
            "EVENT_TYPE_ADD_TO_CART",
            "EVENT_TYPE_REMOVE_FROM_CART",
            "EVENT_TYPE_ADD_TO_WISHLIST",
            "EVENT_TYPE_CART_VIEW",
            "EVENT_TYPE_CHECKOUT",
            "EVENT_TYPE_PURCHASE",
            "EVENT_TYPE_REFUND",
            "EVENT_TYPE_SEARCH",
            "EVENT_TYPE_HOME_VIEW",
            "EVENT_TYPE_CATEGORY_VIEW",
            "EVENT_TYPE_DISMISS",
            "EVENT_TYPE_RATE",
            "EVENT_TYPE_LOGIN",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = EventType;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "EVENT_TYPE_UNSPECIFIED" => Ok(EventType::Unspecified),
                    "EVENT_TYPE_IMPRESSION" => Ok(EventType::Impression),
                    "EVENT_TYPE_CLICK" => Ok(EventType::Click),
                    "EVENT_TYPE_VIEW" => Ok(EventType::View),
                    "EVENT_TYPE_ADD_TO_CART" => Ok(EventType::AddToCart),
                    "EVENT_TYPE_REMOVE_FROM_CART" => Ok(EventType::RemoveFromCart),
                    "EVENT_TYPE_ADD_TO_WISHLIST" => Ok(EventType::AddToWishlist),
                    "EVENT_TYPE_CART_VIEW" => Ok(EventType::CartView),
                    "EVENT_TYPE_CHECKOUT" => Ok(EventType::Checkout),
                    "EVENT_TYPE_PURCHASE" => Ok(EventType::Purchase),
                    "EVENT_TYPE_REFUND" => Ok(EventType::Refund),
                    "EVENT_TYPE_SEARCH" => Ok(EventType::Search),
                    "EVENT_TYPE_HOME_VIEW" => Ok(EventType::HomeView),
                    "EVENT_TYPE_CATEGORY_VIEW" => Ok(EventType::CategoryView),
                    "EVENT_TYPE_DISMISS" => Ok(EventType::Dismiss),
                    "EVENT_TYPE_RATE" => Ok(EventType::Rate),
                    "EVENT_TYPE_LOGIN" => Ok(EventType::Login),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for GetItemRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.item_id.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.GetItemRequest", len)?;
        if !self.item_id.is_empty() {
            struct_ser.serialize_field("itemId", &self.item_id)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for GetItemRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "item_id",
            "itemId",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ItemId,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "itemId" | "item_id" => Ok(GeneratedField::ItemId),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = GetItemRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.GetItemRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<GetItemRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut item_id__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ItemId => {
                            if item_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemId"));
                            }
                            item_id__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(GetItemRequest {
                    item_id: item_id__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.GetItemRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for GetStatusRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("endcap.v1.GetStatusRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for GetStatusRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Err(serde::de::Error::unknown_field(value, FIELDS))
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = GetStatusRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.GetStatusRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<GetStatusRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(GetStatusRequest {
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.GetStatusRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ImpressedItem {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.item_id.is_empty() {
            len += 1;
        }
        if self.position != 0 {
            len += 1;
        }
        if self.score != 0. {
            len += 1;
        }
        if self.propensity != 0. {
            len += 1;
        }
        if self.explored {
            len += 1;
        }
        if !self.sources.is_empty() {
            len += 1;
        }
        if !self.features.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ImpressedItem", len)?;
        if !self.item_id.is_empty() {
            struct_ser.serialize_field("itemId", &self.item_id)?;
        }
        if self.position != 0 {
            struct_ser.serialize_field("position", &self.position)?;
        }
        if self.score != 0. {
            struct_ser.serialize_field("score", &self.score)?;
        }
        if self.propensity != 0. {
            struct_ser.serialize_field("propensity", &self.propensity)?;
        }
        if self.explored {
            struct_ser.serialize_field("explored", &self.explored)?;
        }
        if !self.sources.is_empty() {
            struct_ser.serialize_field("sources", &self.sources)?;
        }
        if !self.features.is_empty() {
            struct_ser.serialize_field("features", &self.features)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ImpressedItem {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "item_id",
            "itemId",
            "position",
            "score",
            "propensity",
            "explored",
            "sources",
            "features",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ItemId,
            Position,
            Score,
            Propensity,
            Explored,
            Sources,
            Features,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "itemId" | "item_id" => Ok(GeneratedField::ItemId),
                            "position" => Ok(GeneratedField::Position),
                            "score" => Ok(GeneratedField::Score),
                            "propensity" => Ok(GeneratedField::Propensity),
                            "explored" => Ok(GeneratedField::Explored),
                            "sources" => Ok(GeneratedField::Sources),
                            "features" => Ok(GeneratedField::Features),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ImpressedItem;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ImpressedItem")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ImpressedItem, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut item_id__ = None;
                let mut position__ = None;
                let mut score__ = None;
                let mut propensity__ = None;
                let mut explored__ = None;
                let mut sources__ = None;
                let mut features__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ItemId => {
                            if item_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemId"));
                            }
                            item_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Position => {
                            if position__.is_some() {
                                return Err(serde::de::Error::duplicate_field("position"));
                            }
                            position__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Score => {
                            if score__.is_some() {
                                return Err(serde::de::Error::duplicate_field("score"));
                            }
                            score__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Propensity => {
                            if propensity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("propensity"));
                            }
                            propensity__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Explored => {
                            if explored__.is_some() {
                                return Err(serde::de::Error::duplicate_field("explored"));
                            }
                            explored__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Sources => {
                            if sources__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sources"));
                            }
                            sources__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Features => {
                            if features__.is_some() {
                                return Err(serde::de::Error::duplicate_field("features"));
                            }
                            features__ = 
                                Some(map_.next_value::<Vec<::pbjson::private::NumberDeserialize<_>>>()?
                                    .into_iter().map(|x| x.0).collect())
                            ;
                        }
                    }
                }
                Ok(ImpressedItem {
                    item_id: item_id__.unwrap_or_default(),
                    position: position__.unwrap_or_default(),
                    score: score__.unwrap_or_default(),
                    propensity: propensity__.unwrap_or_default(),
                    explored: explored__.unwrap_or_default(),
                    sources: sources__.unwrap_or_default(),
                    features: features__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ImpressedItem", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Impression {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.slate_id.is_empty() {
            len += 1;
        }
        if self.served_time.is_some() {
            len += 1;
        }
        if !self.visitor_id.is_empty() {
            len += 1;
        }
        if !self.user_id.is_empty() {
            len += 1;
        }
        if !self.session_id.is_empty() {
            len += 1;
        }
        if !self.placement.is_empty() {
            len += 1;
        }
        if !self.request_id.is_empty() {
            len += 1;
        }
        if !self.items.is_empty() {
            len += 1;
        }
        if self.served_by.is_some() {
            len += 1;
        }
        if self.as_of.is_some() {
            len += 1;
        }
        if !self.applied_offsets.is_empty() {
            len += 1;
        }
        if self.seed != 0 {
            len += 1;
        }
        if !self.degraded.is_empty() {
            len += 1;
        }
        if self.context.is_some() {
            len += 1;
        }
        if self.consent {
            len += 1;
        }
        if !self.attribution_token.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Impression", len)?;
        if !self.slate_id.is_empty() {
            struct_ser.serialize_field("slateId", &self.slate_id)?;
        }
        if let Some(v) = self.served_time.as_ref() {
            struct_ser.serialize_field("servedTime", v)?;
        }
        if !self.visitor_id.is_empty() {
            struct_ser.serialize_field("visitorId", &self.visitor_id)?;
        }
        if !self.user_id.is_empty() {
            struct_ser.serialize_field("userId", &self.user_id)?;
        }
        if !self.session_id.is_empty() {
            struct_ser.serialize_field("sessionId", &self.session_id)?;
        }
        if !self.placement.is_empty() {
            struct_ser.serialize_field("placement", &self.placement)?;
        }
        if !self.request_id.is_empty() {
            struct_ser.serialize_field("requestId", &self.request_id)?;
        }
        if !self.items.is_empty() {
            struct_ser.serialize_field("items", &self.items)?;
        }
        if let Some(v) = self.served_by.as_ref() {
            struct_ser.serialize_field("servedBy", v)?;
        }
        if let Some(v) = self.as_of.as_ref() {
            struct_ser.serialize_field("asOf", v)?;
        }
        if !self.applied_offsets.is_empty() {
            struct_ser.serialize_field("appliedOffsets", &self.applied_offsets)?;
        }
        if self.seed != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("seed", ToString::to_string(&self.seed).as_str())?;
        }
        if !self.degraded.is_empty() {
            struct_ser.serialize_field("degraded", &self.degraded)?;
        }
        if let Some(v) = self.context.as_ref() {
            struct_ser.serialize_field("context", v)?;
        }
        if self.consent {
            struct_ser.serialize_field("consent", &self.consent)?;
        }
        if !self.attribution_token.is_empty() {
            struct_ser.serialize_field("attributionToken", &self.attribution_token)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Impression {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "slate_id",
            "slateId",
            "served_time",
            "servedTime",
            "visitor_id",
            "visitorId",
            "user_id",
            "userId",
            "session_id",
            "sessionId",
            "placement",
            "request_id",
            "requestId",
            "items",
            "served_by",
            "servedBy",
            "as_of",
            "asOf",
            "applied_offsets",
            "appliedOffsets",
            "seed",
            "degraded",
            "context",
            "consent",
            "attribution_token",
            "attributionToken",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            SlateId,
            ServedTime,
            VisitorId,
            UserId,
            SessionId,
            Placement,
            RequestId,
            Items,
            ServedBy,
            AsOf,
            AppliedOffsets,
            Seed,
            Degraded,
            Context,
            Consent,
            AttributionToken,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "slateId" | "slate_id" => Ok(GeneratedField::SlateId),
                            "servedTime" | "served_time" => Ok(GeneratedField::ServedTime),
                            "visitorId" | "visitor_id" => Ok(GeneratedField::VisitorId),
                            "userId" | "user_id" => Ok(GeneratedField::UserId),
                            "sessionId" | "session_id" => Ok(GeneratedField::SessionId),
                            "placement" => Ok(GeneratedField::Placement),
                            "requestId" | "request_id" => Ok(GeneratedField::RequestId),
                            "items" => Ok(GeneratedField::Items),
                            "servedBy" | "served_by" => Ok(GeneratedField::ServedBy),
                            "asOf" | "as_of" => Ok(GeneratedField::AsOf),
                            "appliedOffsets" | "applied_offsets" => Ok(GeneratedField::AppliedOffsets),
                            "seed" => Ok(GeneratedField::Seed),
                            "degraded" => Ok(GeneratedField::Degraded),
                            "context" => Ok(GeneratedField::Context),
                            "consent" => Ok(GeneratedField::Consent),
                            "attributionToken" | "attribution_token" => Ok(GeneratedField::AttributionToken),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Impression;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Impression")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Impression, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut slate_id__ = None;
                let mut served_time__ = None;
                let mut visitor_id__ = None;
                let mut user_id__ = None;
                let mut session_id__ = None;
                let mut placement__ = None;
                let mut request_id__ = None;
                let mut items__ = None;
                let mut served_by__ = None;
                let mut as_of__ = None;
                let mut applied_offsets__ = None;
                let mut seed__ = None;
                let mut degraded__ = None;
                let mut context__ = None;
                let mut consent__ = None;
                let mut attribution_token__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::SlateId => {
                            if slate_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("slateId"));
                            }
                            slate_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ServedTime => {
                            if served_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("servedTime"));
                            }
                            served_time__ = map_.next_value()?;
                        }
                        GeneratedField::VisitorId => {
                            if visitor_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("visitorId"));
                            }
                            visitor_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::UserId => {
                            if user_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("userId"));
                            }
                            user_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::SessionId => {
                            if session_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sessionId"));
                            }
                            session_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Placement => {
                            if placement__.is_some() {
                                return Err(serde::de::Error::duplicate_field("placement"));
                            }
                            placement__ = Some(map_.next_value()?);
                        }
                        GeneratedField::RequestId => {
                            if request_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("requestId"));
                            }
                            request_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ServedBy => {
                            if served_by__.is_some() {
                                return Err(serde::de::Error::duplicate_field("servedBy"));
                            }
                            served_by__ = map_.next_value()?;
                        }
                        GeneratedField::AsOf => {
                            if as_of__.is_some() {
                                return Err(serde::de::Error::duplicate_field("asOf"));
                            }
                            as_of__ = map_.next_value()?;
                        }
                        GeneratedField::AppliedOffsets => {
                            if applied_offsets__.is_some() {
                                return Err(serde::de::Error::duplicate_field("appliedOffsets"));
                            }
                            applied_offsets__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Seed => {
                            if seed__.is_some() {
                                return Err(serde::de::Error::duplicate_field("seed"));
                            }
                            seed__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Degraded => {
                            if degraded__.is_some() {
                                return Err(serde::de::Error::duplicate_field("degraded"));
                            }
                            degraded__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Context => {
                            if context__.is_some() {
                                return Err(serde::de::Error::duplicate_field("context"));
                            }
                            context__ = map_.next_value()?;
                        }
                        GeneratedField::Consent => {
                            if consent__.is_some() {
                                return Err(serde::de::Error::duplicate_field("consent"));
                            }
                            consent__ = Some(map_.next_value()?);
                        }
                        GeneratedField::AttributionToken => {
                            if attribution_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("attributionToken"));
                            }
                            attribution_token__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Impression {
                    slate_id: slate_id__.unwrap_or_default(),
                    served_time: served_time__,
                    visitor_id: visitor_id__.unwrap_or_default(),
                    user_id: user_id__.unwrap_or_default(),
                    session_id: session_id__.unwrap_or_default(),
                    placement: placement__.unwrap_or_default(),
                    request_id: request_id__.unwrap_or_default(),
                    items: items__.unwrap_or_default(),
                    served_by: served_by__,
                    as_of: as_of__,
                    applied_offsets: applied_offsets__.unwrap_or_default(),
                    seed: seed__.unwrap_or_default(),
                    degraded: degraded__.unwrap_or_default(),
                    context: context__,
                    consent: consent__.unwrap_or_default(),
                    attribution_token: attribution_token__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Impression", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Item {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.id.is_empty() {
            len += 1;
        }
        if !self.title.is_empty() {
            len += 1;
        }
        if !self.categories.is_empty() {
            len += 1;
        }
        if !self.brand.is_empty() {
            len += 1;
        }
        if self.price.is_some() {
            len += 1;
        }
        if self.original_price.is_some() {
            len += 1;
        }
        if self.cost.is_some() {
            len += 1;
        }
        if !self.currency.is_empty() {
            len += 1;
        }
        if self.availability != 0 {
            len += 1;
        }
        if !self.group_id.is_empty() {
            len += 1;
        }
        if !self.tags.is_empty() {
            len += 1;
        }
        if !self.attributes.is_empty() {
            len += 1;
        }
        if !self.image_uri.is_empty() {
            len += 1;
        }
        if !self.embedding.is_empty() {
            len += 1;
        }
        if self.publish_time.is_some() {
            len += 1;
        }
        if self.expire_time.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Item", len)?;
        if !self.id.is_empty() {
            struct_ser.serialize_field("id", &self.id)?;
        }
        if !self.title.is_empty() {
            struct_ser.serialize_field("title", &self.title)?;
        }
        if !self.categories.is_empty() {
            struct_ser.serialize_field("categories", &self.categories)?;
        }
        if !self.brand.is_empty() {
            struct_ser.serialize_field("brand", &self.brand)?;
        }
        if let Some(v) = self.price.as_ref() {
            struct_ser.serialize_field("price", v)?;
        }
        if let Some(v) = self.original_price.as_ref() {
            struct_ser.serialize_field("originalPrice", v)?;
        }
        if let Some(v) = self.cost.as_ref() {
            struct_ser.serialize_field("cost", v)?;
        }
        if !self.currency.is_empty() {
            struct_ser.serialize_field("currency", &self.currency)?;
        }
        if self.availability != 0 {
            let v = Availability::try_from(self.availability)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.availability)))?;
            struct_ser.serialize_field("availability", &v)?;
        }
        if !self.group_id.is_empty() {
            struct_ser.serialize_field("groupId", &self.group_id)?;
        }
        if !self.tags.is_empty() {
            struct_ser.serialize_field("tags", &self.tags)?;
        }
        if !self.attributes.is_empty() {
            struct_ser.serialize_field("attributes", &self.attributes)?;
        }
        if !self.image_uri.is_empty() {
            struct_ser.serialize_field("imageUri", &self.image_uri)?;
        }
        if !self.embedding.is_empty() {
            struct_ser.serialize_field("embedding", &self.embedding)?;
        }
        if let Some(v) = self.publish_time.as_ref() {
            struct_ser.serialize_field("publishTime", v)?;
        }
        if let Some(v) = self.expire_time.as_ref() {
            struct_ser.serialize_field("expireTime", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Item {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "id",
            "title",
            "categories",
            "brand",
            "price",
            "original_price",
            "originalPrice",
            "cost",
            "currency",
            "availability",
            "group_id",
            "groupId",
            "tags",
            "attributes",
            "image_uri",
            "imageUri",
            "embedding",
            "publish_time",
            "publishTime",
            "expire_time",
            "expireTime",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Id,
            Title,
            Categories,
            Brand,
            Price,
            OriginalPrice,
            Cost,
            Currency,
            Availability,
            GroupId,
            Tags,
            Attributes,
            ImageUri,
            Embedding,
            PublishTime,
            ExpireTime,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "id" => Ok(GeneratedField::Id),
                            "title" => Ok(GeneratedField::Title),
                            "categories" => Ok(GeneratedField::Categories),
                            "brand" => Ok(GeneratedField::Brand),
                            "price" => Ok(GeneratedField::Price),
                            "originalPrice" | "original_price" => Ok(GeneratedField::OriginalPrice),
                            "cost" => Ok(GeneratedField::Cost),
                            "currency" => Ok(GeneratedField::Currency),
                            "availability" => Ok(GeneratedField::Availability),
                            "groupId" | "group_id" => Ok(GeneratedField::GroupId),
                            "tags" => Ok(GeneratedField::Tags),
                            "attributes" => Ok(GeneratedField::Attributes),
                            "imageUri" | "image_uri" => Ok(GeneratedField::ImageUri),
                            "embedding" => Ok(GeneratedField::Embedding),
                            "publishTime" | "publish_time" => Ok(GeneratedField::PublishTime),
                            "expireTime" | "expire_time" => Ok(GeneratedField::ExpireTime),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Item;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Item")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Item, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut id__ = None;
                let mut title__ = None;
                let mut categories__ = None;
                let mut brand__ = None;
                let mut price__ = None;
                let mut original_price__ = None;
                let mut cost__ = None;
                let mut currency__ = None;
                let mut availability__ = None;
                let mut group_id__ = None;
                let mut tags__ = None;
                let mut attributes__ = None;
                let mut image_uri__ = None;
                let mut embedding__ = None;
                let mut publish_time__ = None;
                let mut expire_time__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Title => {
                            if title__.is_some() {
                                return Err(serde::de::Error::duplicate_field("title"));
                            }
                            title__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Categories => {
                            if categories__.is_some() {
                                return Err(serde::de::Error::duplicate_field("categories"));
                            }
                            categories__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Brand => {
                            if brand__.is_some() {
                                return Err(serde::de::Error::duplicate_field("brand"));
                            }
                            brand__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Price => {
                            if price__.is_some() {
                                return Err(serde::de::Error::duplicate_field("price"));
                            }
                            price__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::OriginalPrice => {
                            if original_price__.is_some() {
                                return Err(serde::de::Error::duplicate_field("originalPrice"));
                            }
                            original_price__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Cost => {
                            if cost__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cost"));
                            }
                            cost__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Currency => {
                            if currency__.is_some() {
                                return Err(serde::de::Error::duplicate_field("currency"));
                            }
                            currency__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Availability => {
                            if availability__.is_some() {
                                return Err(serde::de::Error::duplicate_field("availability"));
                            }
                            availability__ = Some(map_.next_value::<Availability>()? as i32);
                        }
                        GeneratedField::GroupId => {
                            if group_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("groupId"));
                            }
                            group_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Tags => {
                            if tags__.is_some() {
                                return Err(serde::de::Error::duplicate_field("tags"));
                            }
                            tags__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Attributes => {
                            if attributes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("attributes"));
                            }
                            attributes__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                        GeneratedField::ImageUri => {
                            if image_uri__.is_some() {
                                return Err(serde::de::Error::duplicate_field("imageUri"));
                            }
                            image_uri__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Embedding => {
                            if embedding__.is_some() {
                                return Err(serde::de::Error::duplicate_field("embedding"));
                            }
                            embedding__ = 
                                Some(map_.next_value::<Vec<::pbjson::private::NumberDeserialize<_>>>()?
                                    .into_iter().map(|x| x.0).collect())
                            ;
                        }
                        GeneratedField::PublishTime => {
                            if publish_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("publishTime"));
                            }
                            publish_time__ = map_.next_value()?;
                        }
                        GeneratedField::ExpireTime => {
                            if expire_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("expireTime"));
                            }
                            expire_time__ = map_.next_value()?;
                        }
                    }
                }
                Ok(Item {
                    id: id__.unwrap_or_default(),
                    title: title__.unwrap_or_default(),
                    categories: categories__.unwrap_or_default(),
                    brand: brand__.unwrap_or_default(),
                    price: price__,
                    original_price: original_price__,
                    cost: cost__,
                    currency: currency__.unwrap_or_default(),
                    availability: availability__.unwrap_or_default(),
                    group_id: group_id__.unwrap_or_default(),
                    tags: tags__.unwrap_or_default(),
                    attributes: attributes__.unwrap_or_default(),
                    image_uri: image_uri__.unwrap_or_default(),
                    embedding: embedding__.unwrap_or_default(),
                    publish_time: publish_time__,
                    expire_time: expire_time__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Item", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ListBundlesRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("endcap.v1.ListBundlesRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ListBundlesRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Err(serde::de::Error::unknown_field(value, FIELDS))
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ListBundlesRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ListBundlesRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ListBundlesRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(ListBundlesRequest {
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ListBundlesRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ListBundlesResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.bundles.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ListBundlesResponse", len)?;
        if !self.bundles.is_empty() {
            struct_ser.serialize_field("bundles", &self.bundles)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ListBundlesResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "bundles",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Bundles,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "bundles" => Ok(GeneratedField::Bundles),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ListBundlesResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ListBundlesResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ListBundlesResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut bundles__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Bundles => {
                            if bundles__.is_some() {
                                return Err(serde::de::Error::duplicate_field("bundles"));
                            }
                            bundles__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ListBundlesResponse {
                    bundles: bundles__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ListBundlesResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ListItemsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.page_size != 0 {
            len += 1;
        }
        if !self.page_token.is_empty() {
            len += 1;
        }
        if !self.filter.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ListItemsRequest", len)?;
        if self.page_size != 0 {
            struct_ser.serialize_field("pageSize", &self.page_size)?;
        }
        if !self.page_token.is_empty() {
            struct_ser.serialize_field("pageToken", &self.page_token)?;
        }
        if !self.filter.is_empty() {
            struct_ser.serialize_field("filter", &self.filter)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ListItemsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "page_size",
            "pageSize",
            "page_token",
            "pageToken",
            "filter",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            PageSize,
            PageToken,
            Filter,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "pageSize" | "page_size" => Ok(GeneratedField::PageSize),
                            "pageToken" | "page_token" => Ok(GeneratedField::PageToken),
                            "filter" => Ok(GeneratedField::Filter),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ListItemsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ListItemsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ListItemsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut page_size__ = None;
                let mut page_token__ = None;
                let mut filter__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::PageSize => {
                            if page_size__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageSize"));
                            }
                            page_size__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::PageToken => {
                            if page_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageToken"));
                            }
                            page_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Filter => {
                            if filter__.is_some() {
                                return Err(serde::de::Error::duplicate_field("filter"));
                            }
                            filter__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ListItemsRequest {
                    page_size: page_size__.unwrap_or_default(),
                    page_token: page_token__.unwrap_or_default(),
                    filter: filter__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ListItemsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ListItemsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.items.is_empty() {
            len += 1;
        }
        if !self.next_page_token.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ListItemsResponse", len)?;
        if !self.items.is_empty() {
            struct_ser.serialize_field("items", &self.items)?;
        }
        if !self.next_page_token.is_empty() {
            struct_ser.serialize_field("nextPageToken", &self.next_page_token)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ListItemsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "items",
            "next_page_token",
            "nextPageToken",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Items,
            NextPageToken,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "items" => Ok(GeneratedField::Items),
                            "nextPageToken" | "next_page_token" => Ok(GeneratedField::NextPageToken),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ListItemsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ListItemsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ListItemsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut items__ = None;
                let mut next_page_token__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = Some(map_.next_value()?);
                        }
                        GeneratedField::NextPageToken => {
                            if next_page_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("nextPageToken"));
                            }
                            next_page_token__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ListItemsResponse {
                    items: items__.unwrap_or_default(),
                    next_page_token: next_page_token__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ListItemsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PartitionLag {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.topic.is_empty() {
            len += 1;
        }
        if self.partition != 0 {
            len += 1;
        }
        if self.applied_offset != 0 {
            len += 1;
        }
        if self.end_offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.PartitionLag", len)?;
        if !self.topic.is_empty() {
            struct_ser.serialize_field("topic", &self.topic)?;
        }
        if self.partition != 0 {
            struct_ser.serialize_field("partition", &self.partition)?;
        }
        if self.applied_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("appliedOffset", ToString::to_string(&self.applied_offset).as_str())?;
        }
        if self.end_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("endOffset", ToString::to_string(&self.end_offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PartitionLag {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "topic",
            "partition",
            "applied_offset",
            "appliedOffset",
            "end_offset",
            "endOffset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Topic,
            Partition,
            AppliedOffset,
            EndOffset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "topic" => Ok(GeneratedField::Topic),
                            "partition" => Ok(GeneratedField::Partition),
                            "appliedOffset" | "applied_offset" => Ok(GeneratedField::AppliedOffset),
                            "endOffset" | "end_offset" => Ok(GeneratedField::EndOffset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PartitionLag;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.PartitionLag")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PartitionLag, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut topic__ = None;
                let mut partition__ = None;
                let mut applied_offset__ = None;
                let mut end_offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Topic => {
                            if topic__.is_some() {
                                return Err(serde::de::Error::duplicate_field("topic"));
                            }
                            topic__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Partition => {
                            if partition__.is_some() {
                                return Err(serde::de::Error::duplicate_field("partition"));
                            }
                            partition__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::AppliedOffset => {
                            if applied_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("appliedOffset"));
                            }
                            applied_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::EndOffset => {
                            if end_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("endOffset"));
                            }
                            end_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(PartitionLag {
                    topic: topic__.unwrap_or_default(),
                    partition: partition__.unwrap_or_default(),
                    applied_offset: applied_offset__.unwrap_or_default(),
                    end_offset: end_offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.PartitionLag", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PartitionOffset {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.topic.is_empty() {
            len += 1;
        }
        if self.partition != 0 {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.PartitionOffset", len)?;
        if !self.topic.is_empty() {
            struct_ser.serialize_field("topic", &self.topic)?;
        }
        if self.partition != 0 {
            struct_ser.serialize_field("partition", &self.partition)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PartitionOffset {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "topic",
            "partition",
            "offset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Topic,
            Partition,
            Offset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "topic" => Ok(GeneratedField::Topic),
                            "partition" => Ok(GeneratedField::Partition),
                            "offset" => Ok(GeneratedField::Offset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PartitionOffset;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.PartitionOffset")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PartitionOffset, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut topic__ = None;
                let mut partition__ = None;
                let mut offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Topic => {
                            if topic__.is_some() {
                                return Err(serde::de::Error::duplicate_field("topic"));
                            }
                            topic__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Partition => {
                            if partition__.is_some() {
                                return Err(serde::de::Error::duplicate_field("partition"));
                            }
                            partition__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(PartitionOffset {
                    topic: topic__.unwrap_or_default(),
                    partition: partition__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.PartitionOffset", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Promotion {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.name.is_empty() {
            len += 1;
        }
        if !self.filter.is_empty() {
            len += 1;
        }
        if self.percent != 0. {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Promotion", len)?;
        if !self.name.is_empty() {
            struct_ser.serialize_field("name", &self.name)?;
        }
        if !self.filter.is_empty() {
            struct_ser.serialize_field("filter", &self.filter)?;
        }
        if self.percent != 0. {
            struct_ser.serialize_field("percent", &self.percent)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Promotion {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "name",
            "filter",
            "percent",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Name,
            Filter,
            Percent,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "name" => Ok(GeneratedField::Name),
                            "filter" => Ok(GeneratedField::Filter),
                            "percent" => Ok(GeneratedField::Percent),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Promotion;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Promotion")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Promotion, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut name__ = None;
                let mut filter__ = None;
                let mut percent__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Name => {
                            if name__.is_some() {
                                return Err(serde::de::Error::duplicate_field("name"));
                            }
                            name__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Filter => {
                            if filter__.is_some() {
                                return Err(serde::de::Error::duplicate_field("filter"));
                            }
                            filter__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Percent => {
                            if percent__.is_some() {
                                return Err(serde::de::Error::duplicate_field("percent"));
                            }
                            percent__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Promotion {
                    name: name__.unwrap_or_default(),
                    filter: filter__.unwrap_or_default(),
                    percent: percent__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Promotion", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PurgeEventsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.shopper.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.PurgeEventsRequest", len)?;
        if let Some(v) = self.shopper.as_ref() {
            match v {
                purge_events_request::Shopper::VisitorId(v) => {
                    struct_ser.serialize_field("visitorId", v)?;
                }
                purge_events_request::Shopper::UserId(v) => {
                    struct_ser.serialize_field("userId", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PurgeEventsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "visitor_id",
            "visitorId",
            "user_id",
            "userId",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            VisitorId,
            UserId,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "visitorId" | "visitor_id" => Ok(GeneratedField::VisitorId),
                            "userId" | "user_id" => Ok(GeneratedField::UserId),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PurgeEventsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.PurgeEventsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PurgeEventsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut shopper__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::VisitorId => {
                            if shopper__.is_some() {
                                return Err(serde::de::Error::duplicate_field("visitorId"));
                            }
                            shopper__ = map_.next_value::<::std::option::Option<_>>()?.map(purge_events_request::Shopper::VisitorId);
                        }
                        GeneratedField::UserId => {
                            if shopper__.is_some() {
                                return Err(serde::de::Error::duplicate_field("userId"));
                            }
                            shopper__ = map_.next_value::<::std::option::Option<_>>()?.map(purge_events_request::Shopper::UserId);
                        }
                    }
                }
                Ok(PurgeEventsRequest {
                    shopper: shopper__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.PurgeEventsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PurgeEventsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.receipt.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.PurgeEventsResponse", len)?;
        if !self.receipt.is_empty() {
            struct_ser.serialize_field("receipt", &self.receipt)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PurgeEventsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "receipt",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Receipt,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "receipt" => Ok(GeneratedField::Receipt),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PurgeEventsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.PurgeEventsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PurgeEventsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut receipt__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Receipt => {
                            if receipt__.is_some() {
                                return Err(serde::de::Error::duplicate_field("receipt"));
                            }
                            receipt__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(PurgeEventsResponse {
                    receipt: receipt__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.PurgeEventsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RecommendRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.placement.is_empty() {
            len += 1;
        }
        if !self.visitor_id.is_empty() {
            len += 1;
        }
        if !self.user_id.is_empty() {
            len += 1;
        }
        if !self.session_id.is_empty() {
            len += 1;
        }
        if self.context.is_some() {
            len += 1;
        }
        if !self.recent_events.is_empty() {
            len += 1;
        }
        if self.page_size != 0 {
            len += 1;
        }
        if !self.page_token.is_empty() {
            len += 1;
        }
        if !self.filter.is_empty() {
            len += 1;
        }
        if !self.filter_values.is_empty() {
            len += 1;
        }
        if self.strict_filtering.is_some() {
            len += 1;
        }
        if !self.exclude_item_ids.is_empty() {
            len += 1;
        }
        if !self.candidate_ids.is_empty() {
            len += 1;
        }
        if !self.promotions.is_empty() {
            len += 1;
        }
        if self.diversity != 0 {
            len += 1;
        }
        if !self.experiment_ids.is_empty() {
            len += 1;
        }
        if self.explain {
            len += 1;
        }
        if self.return_item {
            len += 1;
        }
        if self.validate_only {
            len += 1;
        }
        if !self.request_id.is_empty() {
            len += 1;
        }
        if !self.labels.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.RecommendRequest", len)?;
        if !self.placement.is_empty() {
            struct_ser.serialize_field("placement", &self.placement)?;
        }
        if !self.visitor_id.is_empty() {
            struct_ser.serialize_field("visitorId", &self.visitor_id)?;
        }
        if !self.user_id.is_empty() {
            struct_ser.serialize_field("userId", &self.user_id)?;
        }
        if !self.session_id.is_empty() {
            struct_ser.serialize_field("sessionId", &self.session_id)?;
        }
        if let Some(v) = self.context.as_ref() {
            struct_ser.serialize_field("context", v)?;
        }
        if !self.recent_events.is_empty() {
            struct_ser.serialize_field("recentEvents", &self.recent_events)?;
        }
        if self.page_size != 0 {
            struct_ser.serialize_field("pageSize", &self.page_size)?;
        }
        if !self.page_token.is_empty() {
            struct_ser.serialize_field("pageToken", &self.page_token)?;
        }
        if !self.filter.is_empty() {
            struct_ser.serialize_field("filter", &self.filter)?;
        }
        if !self.filter_values.is_empty() {
            struct_ser.serialize_field("filterValues", &self.filter_values)?;
        }
        if let Some(v) = self.strict_filtering.as_ref() {
            struct_ser.serialize_field("strictFiltering", v)?;
        }
        if !self.exclude_item_ids.is_empty() {
            struct_ser.serialize_field("excludeItemIds", &self.exclude_item_ids)?;
        }
        if !self.candidate_ids.is_empty() {
            struct_ser.serialize_field("candidateIds", &self.candidate_ids)?;
        }
        if !self.promotions.is_empty() {
            struct_ser.serialize_field("promotions", &self.promotions)?;
        }
        if self.diversity != 0 {
            let v = Diversity::try_from(self.diversity)
                .map_err(|_| serde::ser::Error::custom(format!("Invalid variant {}", self.diversity)))?;
            struct_ser.serialize_field("diversity", &v)?;
        }
        if !self.experiment_ids.is_empty() {
            struct_ser.serialize_field("experimentIds", &self.experiment_ids)?;
        }
        if self.explain {
            struct_ser.serialize_field("explain", &self.explain)?;
        }
        if self.return_item {
            struct_ser.serialize_field("returnItem", &self.return_item)?;
        }
        if self.validate_only {
            struct_ser.serialize_field("validateOnly", &self.validate_only)?;
        }
        if !self.request_id.is_empty() {
            struct_ser.serialize_field("requestId", &self.request_id)?;
        }
        if !self.labels.is_empty() {
            struct_ser.serialize_field("labels", &self.labels)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for RecommendRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "placement",
            "visitor_id",
            "visitorId",
            "user_id",
            "userId",
            "session_id",
            "sessionId",
            "context",
            "recent_events",
            "recentEvents",
            "page_size",
            "pageSize",
            "page_token",
            "pageToken",
            "filter",
            "filter_values",
            "filterValues",
            "strict_filtering",
            "strictFiltering",
            "exclude_item_ids",
            "excludeItemIds",
            "candidate_ids",
            "candidateIds",
            "promotions",
            "diversity",
            "experiment_ids",
            "experimentIds",
            "explain",
            "return_item",
            "returnItem",
            "validate_only",
            "validateOnly",
            "request_id",
            "requestId",
            "labels",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Placement,
            VisitorId,
            UserId,
            SessionId,
            Context,
            RecentEvents,
            PageSize,
            PageToken,
            Filter,
            FilterValues,
            StrictFiltering,
            ExcludeItemIds,
            CandidateIds,
            Promotions,
            Diversity,
            ExperimentIds,
            Explain,
            ReturnItem,
            ValidateOnly,
            RequestId,
            Labels,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "placement" => Ok(GeneratedField::Placement),
                            "visitorId" | "visitor_id" => Ok(GeneratedField::VisitorId),
                            "userId" | "user_id" => Ok(GeneratedField::UserId),
                            "sessionId" | "session_id" => Ok(GeneratedField::SessionId),
                            "context" => Ok(GeneratedField::Context),
                            "recentEvents" | "recent_events" => Ok(GeneratedField::RecentEvents),
                            "pageSize" | "page_size" => Ok(GeneratedField::PageSize),
                            "pageToken" | "page_token" => Ok(GeneratedField::PageToken),
                            "filter" => Ok(GeneratedField::Filter),
                            "filterValues" | "filter_values" => Ok(GeneratedField::FilterValues),
                            "strictFiltering" | "strict_filtering" => Ok(GeneratedField::StrictFiltering),
                            "excludeItemIds" | "exclude_item_ids" => Ok(GeneratedField::ExcludeItemIds),
                            "candidateIds" | "candidate_ids" => Ok(GeneratedField::CandidateIds),
                            "promotions" => Ok(GeneratedField::Promotions),
                            "diversity" => Ok(GeneratedField::Diversity),
                            "experimentIds" | "experiment_ids" => Ok(GeneratedField::ExperimentIds),
                            "explain" => Ok(GeneratedField::Explain),
                            "returnItem" | "return_item" => Ok(GeneratedField::ReturnItem),
                            "validateOnly" | "validate_only" => Ok(GeneratedField::ValidateOnly),
                            "requestId" | "request_id" => Ok(GeneratedField::RequestId),
                            "labels" => Ok(GeneratedField::Labels),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = RecommendRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.RecommendRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<RecommendRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut placement__ = None;
                let mut visitor_id__ = None;
                let mut user_id__ = None;
                let mut session_id__ = None;
                let mut context__ = None;
                let mut recent_events__ = None;
                let mut page_size__ = None;
                let mut page_token__ = None;
                let mut filter__ = None;
                let mut filter_values__ = None;
                let mut strict_filtering__ = None;
                let mut exclude_item_ids__ = None;
                let mut candidate_ids__ = None;
                let mut promotions__ = None;
                let mut diversity__ = None;
                let mut experiment_ids__ = None;
                let mut explain__ = None;
                let mut return_item__ = None;
                let mut validate_only__ = None;
                let mut request_id__ = None;
                let mut labels__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Placement => {
                            if placement__.is_some() {
                                return Err(serde::de::Error::duplicate_field("placement"));
                            }
                            placement__ = Some(map_.next_value()?);
                        }
                        GeneratedField::VisitorId => {
                            if visitor_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("visitorId"));
                            }
                            visitor_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::UserId => {
                            if user_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("userId"));
                            }
                            user_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::SessionId => {
                            if session_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sessionId"));
                            }
                            session_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Context => {
                            if context__.is_some() {
                                return Err(serde::de::Error::duplicate_field("context"));
                            }
                            context__ = map_.next_value()?;
                        }
                        GeneratedField::RecentEvents => {
                            if recent_events__.is_some() {
                                return Err(serde::de::Error::duplicate_field("recentEvents"));
                            }
                            recent_events__ = Some(map_.next_value()?);
                        }
                        GeneratedField::PageSize => {
                            if page_size__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageSize"));
                            }
                            page_size__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::PageToken => {
                            if page_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pageToken"));
                            }
                            page_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Filter => {
                            if filter__.is_some() {
                                return Err(serde::de::Error::duplicate_field("filter"));
                            }
                            filter__ = Some(map_.next_value()?);
                        }
                        GeneratedField::FilterValues => {
                            if filter_values__.is_some() {
                                return Err(serde::de::Error::duplicate_field("filterValues"));
                            }
                            filter_values__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                        GeneratedField::StrictFiltering => {
                            if strict_filtering__.is_some() {
                                return Err(serde::de::Error::duplicate_field("strictFiltering"));
                            }
                            strict_filtering__ = map_.next_value()?;
                        }
                        GeneratedField::ExcludeItemIds => {
                            if exclude_item_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("excludeItemIds"));
                            }
                            exclude_item_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::CandidateIds => {
                            if candidate_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("candidateIds"));
                            }
                            candidate_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Promotions => {
                            if promotions__.is_some() {
                                return Err(serde::de::Error::duplicate_field("promotions"));
                            }
                            promotions__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Diversity => {
                            if diversity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("diversity"));
                            }
                            diversity__ = Some(map_.next_value::<Diversity>()? as i32);
                        }
                        GeneratedField::ExperimentIds => {
                            if experiment_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("experimentIds"));
                            }
                            experiment_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Explain => {
                            if explain__.is_some() {
                                return Err(serde::de::Error::duplicate_field("explain"));
                            }
                            explain__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ReturnItem => {
                            if return_item__.is_some() {
                                return Err(serde::de::Error::duplicate_field("returnItem"));
                            }
                            return_item__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ValidateOnly => {
                            if validate_only__.is_some() {
                                return Err(serde::de::Error::duplicate_field("validateOnly"));
                            }
                            validate_only__ = Some(map_.next_value()?);
                        }
                        GeneratedField::RequestId => {
                            if request_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("requestId"));
                            }
                            request_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Labels => {
                            if labels__.is_some() {
                                return Err(serde::de::Error::duplicate_field("labels"));
                            }
                            labels__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                    }
                }
                Ok(RecommendRequest {
                    placement: placement__.unwrap_or_default(),
                    visitor_id: visitor_id__.unwrap_or_default(),
                    user_id: user_id__.unwrap_or_default(),
                    session_id: session_id__.unwrap_or_default(),
                    context: context__,
                    recent_events: recent_events__.unwrap_or_default(),
                    page_size: page_size__.unwrap_or_default(),
                    page_token: page_token__.unwrap_or_default(),
                    filter: filter__.unwrap_or_default(),
                    filter_values: filter_values__.unwrap_or_default(),
                    strict_filtering: strict_filtering__,
                    exclude_item_ids: exclude_item_ids__.unwrap_or_default(),
                    candidate_ids: candidate_ids__.unwrap_or_default(),
                    promotions: promotions__.unwrap_or_default(),
                    diversity: diversity__.unwrap_or_default(),
                    experiment_ids: experiment_ids__.unwrap_or_default(),
                    explain: explain__.unwrap_or_default(),
                    return_item: return_item__.unwrap_or_default(),
                    validate_only: validate_only__.unwrap_or_default(),
                    request_id: request_id__.unwrap_or_default(),
                    labels: labels__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.RecommendRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RecommendResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.results.is_empty() {
            len += 1;
        }
        if !self.attribution_token.is_empty() {
            len += 1;
        }
        if !self.missing_ids.is_empty() {
            len += 1;
        }
        if self.served_by.is_some() {
            len += 1;
        }
        if !self.degraded.is_empty() {
            len += 1;
        }
        if !self.next_page_token.is_empty() {
            len += 1;
        }
        if !self.request_id.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.RecommendResponse", len)?;
        if !self.results.is_empty() {
            struct_ser.serialize_field("results", &self.results)?;
        }
        if !self.attribution_token.is_empty() {
            struct_ser.serialize_field("attributionToken", &self.attribution_token)?;
        }
        if !self.missing_ids.is_empty() {
            struct_ser.serialize_field("missingIds", &self.missing_ids)?;
        }
        if let Some(v) = self.served_by.as_ref() {
            struct_ser.serialize_field("servedBy", v)?;
        }
        if !self.degraded.is_empty() {
            struct_ser.serialize_field("degraded", &self.degraded)?;
        }
        if !self.next_page_token.is_empty() {
            struct_ser.serialize_field("nextPageToken", &self.next_page_token)?;
        }
        if !self.request_id.is_empty() {
            struct_ser.serialize_field("requestId", &self.request_id)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for RecommendResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "results",
            "attribution_token",
            "attributionToken",
            "missing_ids",
            "missingIds",
            "served_by",
            "servedBy",
            "degraded",
            "next_page_token",
            "nextPageToken",
            "request_id",
            "requestId",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Results,
            AttributionToken,
            MissingIds,
            ServedBy,
            Degraded,
            NextPageToken,
            RequestId,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "results" => Ok(GeneratedField::Results),
                            "attributionToken" | "attribution_token" => Ok(GeneratedField::AttributionToken),
                            "missingIds" | "missing_ids" => Ok(GeneratedField::MissingIds),
                            "servedBy" | "served_by" => Ok(GeneratedField::ServedBy),
                            "degraded" => Ok(GeneratedField::Degraded),
                            "nextPageToken" | "next_page_token" => Ok(GeneratedField::NextPageToken),
                            "requestId" | "request_id" => Ok(GeneratedField::RequestId),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = RecommendResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.RecommendResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<RecommendResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut results__ = None;
                let mut attribution_token__ = None;
                let mut missing_ids__ = None;
                let mut served_by__ = None;
                let mut degraded__ = None;
                let mut next_page_token__ = None;
                let mut request_id__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Results => {
                            if results__.is_some() {
                                return Err(serde::de::Error::duplicate_field("results"));
                            }
                            results__ = Some(map_.next_value()?);
                        }
                        GeneratedField::AttributionToken => {
                            if attribution_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("attributionToken"));
                            }
                            attribution_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::MissingIds => {
                            if missing_ids__.is_some() {
                                return Err(serde::de::Error::duplicate_field("missingIds"));
                            }
                            missing_ids__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ServedBy => {
                            if served_by__.is_some() {
                                return Err(serde::de::Error::duplicate_field("servedBy"));
                            }
                            served_by__ = map_.next_value()?;
                        }
                        GeneratedField::Degraded => {
                            if degraded__.is_some() {
                                return Err(serde::de::Error::duplicate_field("degraded"));
                            }
                            degraded__ = Some(map_.next_value()?);
                        }
                        GeneratedField::NextPageToken => {
                            if next_page_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("nextPageToken"));
                            }
                            next_page_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::RequestId => {
                            if request_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("requestId"));
                            }
                            request_id__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(RecommendResponse {
                    results: results__.unwrap_or_default(),
                    attribution_token: attribution_token__.unwrap_or_default(),
                    missing_ids: missing_ids__.unwrap_or_default(),
                    served_by: served_by__,
                    degraded: degraded__.unwrap_or_default(),
                    next_page_token: next_page_token__.unwrap_or_default(),
                    request_id: request_id__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.RecommendResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Result {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.item_id.is_empty() {
            len += 1;
        }
        if self.position != 0 {
            len += 1;
        }
        if self.score != 0. {
            len += 1;
        }
        if !self.objective_scores.is_empty() {
            len += 1;
        }
        if !self.sources.is_empty() {
            len += 1;
        }
        if !self.promotion.is_empty() {
            len += 1;
        }
        if self.propensity != 0. {
            len += 1;
        }
        if !self.explanation.is_empty() {
            len += 1;
        }
        if self.item.is_some() {
            len += 1;
        }
        if self.explored {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Result", len)?;
        if !self.item_id.is_empty() {
            struct_ser.serialize_field("itemId", &self.item_id)?;
        }
        if self.position != 0 {
            struct_ser.serialize_field("position", &self.position)?;
        }
        if self.score != 0. {
            struct_ser.serialize_field("score", &self.score)?;
        }
        if !self.objective_scores.is_empty() {
            struct_ser.serialize_field("objectiveScores", &self.objective_scores)?;
        }
        if !self.sources.is_empty() {
            struct_ser.serialize_field("sources", &self.sources)?;
        }
        if !self.promotion.is_empty() {
            struct_ser.serialize_field("promotion", &self.promotion)?;
        }
        if self.propensity != 0. {
            struct_ser.serialize_field("propensity", &self.propensity)?;
        }
        if !self.explanation.is_empty() {
            struct_ser.serialize_field("explanation", &self.explanation)?;
        }
        if let Some(v) = self.item.as_ref() {
            struct_ser.serialize_field("item", v)?;
        }
        if self.explored {
            struct_ser.serialize_field("explored", &self.explored)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Result {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "item_id",
            "itemId",
            "position",
            "score",
            "objective_scores",
            "objectiveScores",
            "sources",
            "promotion",
            "propensity",
            "explanation",
            "item",
            "explored",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ItemId,
            Position,
            Score,
            ObjectiveScores,
            Sources,
            Promotion,
            Propensity,
            Explanation,
            Item,
            Explored,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "itemId" | "item_id" => Ok(GeneratedField::ItemId),
                            "position" => Ok(GeneratedField::Position),
                            "score" => Ok(GeneratedField::Score),
                            "objectiveScores" | "objective_scores" => Ok(GeneratedField::ObjectiveScores),
                            "sources" => Ok(GeneratedField::Sources),
                            "promotion" => Ok(GeneratedField::Promotion),
                            "propensity" => Ok(GeneratedField::Propensity),
                            "explanation" => Ok(GeneratedField::Explanation),
                            "item" => Ok(GeneratedField::Item),
                            "explored" => Ok(GeneratedField::Explored),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Result;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Result")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Result, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut item_id__ = None;
                let mut position__ = None;
                let mut score__ = None;
                let mut objective_scores__ = None;
                let mut sources__ = None;
                let mut promotion__ = None;
                let mut propensity__ = None;
                let mut explanation__ = None;
                let mut item__ = None;
                let mut explored__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ItemId => {
                            if item_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("itemId"));
                            }
                            item_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Position => {
                            if position__.is_some() {
                                return Err(serde::de::Error::duplicate_field("position"));
                            }
                            position__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Score => {
                            if score__.is_some() {
                                return Err(serde::de::Error::duplicate_field("score"));
                            }
                            score__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ObjectiveScores => {
                            if objective_scores__.is_some() {
                                return Err(serde::de::Error::duplicate_field("objectiveScores"));
                            }
                            objective_scores__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, ::pbjson::private::NumberDeserialize<f64>>>()?
                                    .into_iter().map(|(k,v)| (k, v.0)).collect()
                            );
                        }
                        GeneratedField::Sources => {
                            if sources__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sources"));
                            }
                            sources__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Promotion => {
                            if promotion__.is_some() {
                                return Err(serde::de::Error::duplicate_field("promotion"));
                            }
                            promotion__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Propensity => {
                            if propensity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("propensity"));
                            }
                            propensity__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Explanation => {
                            if explanation__.is_some() {
                                return Err(serde::de::Error::duplicate_field("explanation"));
                            }
                            explanation__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Item => {
                            if item__.is_some() {
                                return Err(serde::de::Error::duplicate_field("item"));
                            }
                            item__ = map_.next_value()?;
                        }
                        GeneratedField::Explored => {
                            if explored__.is_some() {
                                return Err(serde::de::Error::duplicate_field("explored"));
                            }
                            explored__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Result {
                    item_id: item_id__.unwrap_or_default(),
                    position: position__.unwrap_or_default(),
                    score: score__.unwrap_or_default(),
                    objective_scores: objective_scores__.unwrap_or_default(),
                    sources: sources__.unwrap_or_default(),
                    promotion: promotion__.unwrap_or_default(),
                    propensity: propensity__.unwrap_or_default(),
                    explanation: explanation__.unwrap_or_default(),
                    item: item__,
                    explored: explored__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Result", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RollbackBundleRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("endcap.v1.RollbackBundleRequest", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for RollbackBundleRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Err(serde::de::Error::unknown_field(value, FIELDS))
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = RollbackBundleRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.RollbackBundleRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<RollbackBundleRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(RollbackBundleRequest {
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.RollbackBundleRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RollbackBundleResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.bundle.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.RollbackBundleResponse", len)?;
        if let Some(v) = self.bundle.as_ref() {
            struct_ser.serialize_field("bundle", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for RollbackBundleResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "bundle",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Bundle,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "bundle" => Ok(GeneratedField::Bundle),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = RollbackBundleResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.RollbackBundleResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<RollbackBundleResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut bundle__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Bundle => {
                            if bundle__.is_some() {
                                return Err(serde::de::Error::duplicate_field("bundle"));
                            }
                            bundle__ = map_.next_value()?;
                        }
                    }
                }
                Ok(RollbackBundleResponse {
                    bundle: bundle__,
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.RollbackBundleResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ServedBy {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.bundle_version.is_empty() {
            len += 1;
        }
        if !self.index_version.is_empty() {
            len += 1;
        }
        if !self.experiment_arms.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.ServedBy", len)?;
        if !self.bundle_version.is_empty() {
            struct_ser.serialize_field("bundleVersion", &self.bundle_version)?;
        }
        if !self.index_version.is_empty() {
            struct_ser.serialize_field("indexVersion", &self.index_version)?;
        }
        if !self.experiment_arms.is_empty() {
            struct_ser.serialize_field("experimentArms", &self.experiment_arms)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ServedBy {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "bundle_version",
            "bundleVersion",
            "index_version",
            "indexVersion",
            "experiment_arms",
            "experimentArms",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            BundleVersion,
            IndexVersion,
            ExperimentArms,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "bundleVersion" | "bundle_version" => Ok(GeneratedField::BundleVersion),
                            "indexVersion" | "index_version" => Ok(GeneratedField::IndexVersion),
                            "experimentArms" | "experiment_arms" => Ok(GeneratedField::ExperimentArms),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ServedBy;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.ServedBy")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ServedBy, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut bundle_version__ = None;
                let mut index_version__ = None;
                let mut experiment_arms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::BundleVersion => {
                            if bundle_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("bundleVersion"));
                            }
                            bundle_version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::IndexVersion => {
                            if index_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("indexVersion"));
                            }
                            index_version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ExperimentArms => {
                            if experiment_arms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("experimentArms"));
                            }
                            experiment_arms__ = Some(
                                map_.next_value::<std::collections::BTreeMap<_, _>>()?
                            );
                        }
                    }
                }
                Ok(ServedBy {
                    bundle_version: bundle_version__.unwrap_or_default(),
                    index_version: index_version__.unwrap_or_default(),
                    experiment_arms: experiment_arms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.ServedBy", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Status {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.bundle_version.is_empty() {
            len += 1;
        }
        if self.items != 0 {
            len += 1;
        }
        if self.live_items != 0 {
            len += 1;
        }
        if self.visitors != 0 {
            len += 1;
        }
        if !self.lag.is_empty() {
            len += 1;
        }
        if !self.degraded.is_empty() {
            len += 1;
        }
        if self.start_time.is_some() {
            len += 1;
        }
        if !self.software_version.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Status", len)?;
        if !self.bundle_version.is_empty() {
            struct_ser.serialize_field("bundleVersion", &self.bundle_version)?;
        }
        if self.items != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("items", ToString::to_string(&self.items).as_str())?;
        }
        if self.live_items != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("liveItems", ToString::to_string(&self.live_items).as_str())?;
        }
        if self.visitors != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("visitors", ToString::to_string(&self.visitors).as_str())?;
        }
        if !self.lag.is_empty() {
            struct_ser.serialize_field("lag", &self.lag)?;
        }
        if !self.degraded.is_empty() {
            struct_ser.serialize_field("degraded", &self.degraded)?;
        }
        if let Some(v) = self.start_time.as_ref() {
            struct_ser.serialize_field("startTime", v)?;
        }
        if !self.software_version.is_empty() {
            struct_ser.serialize_field("softwareVersion", &self.software_version)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Status {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "bundle_version",
            "bundleVersion",
            "items",
            "live_items",
            "liveItems",
            "visitors",
            "lag",
            "degraded",
            "start_time",
            "startTime",
            "software_version",
            "softwareVersion",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            BundleVersion,
            Items,
            LiveItems,
            Visitors,
            Lag,
            Degraded,
            StartTime,
            SoftwareVersion,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "bundleVersion" | "bundle_version" => Ok(GeneratedField::BundleVersion),
                            "items" => Ok(GeneratedField::Items),
                            "liveItems" | "live_items" => Ok(GeneratedField::LiveItems),
                            "visitors" => Ok(GeneratedField::Visitors),
                            "lag" => Ok(GeneratedField::Lag),
                            "degraded" => Ok(GeneratedField::Degraded),
                            "startTime" | "start_time" => Ok(GeneratedField::StartTime),
                            "softwareVersion" | "software_version" => Ok(GeneratedField::SoftwareVersion),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Status;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Status")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Status, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut bundle_version__ = None;
                let mut items__ = None;
                let mut live_items__ = None;
                let mut visitors__ = None;
                let mut lag__ = None;
                let mut degraded__ = None;
                let mut start_time__ = None;
                let mut software_version__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::BundleVersion => {
                            if bundle_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("bundleVersion"));
                            }
                            bundle_version__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::LiveItems => {
                            if live_items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("liveItems"));
                            }
                            live_items__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Visitors => {
                            if visitors__.is_some() {
                                return Err(serde::de::Error::duplicate_field("visitors"));
                            }
                            visitors__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Lag => {
                            if lag__.is_some() {
                                return Err(serde::de::Error::duplicate_field("lag"));
                            }
                            lag__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Degraded => {
                            if degraded__.is_some() {
                                return Err(serde::de::Error::duplicate_field("degraded"));
                            }
                            degraded__ = Some(map_.next_value()?);
                        }
                        GeneratedField::StartTime => {
                            if start_time__.is_some() {
                                return Err(serde::de::Error::duplicate_field("startTime"));
                            }
                            start_time__ = map_.next_value()?;
                        }
                        GeneratedField::SoftwareVersion => {
                            if software_version__.is_some() {
                                return Err(serde::de::Error::duplicate_field("softwareVersion"));
                            }
                            software_version__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Status {
                    bundle_version: bundle_version__.unwrap_or_default(),
                    items: items__.unwrap_or_default(),
                    live_items: live_items__.unwrap_or_default(),
                    visitors: visitors__.unwrap_or_default(),
                    lag: lag__.unwrap_or_default(),
                    degraded: degraded__.unwrap_or_default(),
                    start_time: start_time__,
                    software_version: software_version__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Status", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Transaction {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.id.is_empty() {
            len += 1;
        }
        if self.revenue.is_some() {
            len += 1;
        }
        if self.tax.is_some() {
            len += 1;
        }
        if self.cost.is_some() {
            len += 1;
        }
        if !self.currency.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.Transaction", len)?;
        if !self.id.is_empty() {
            struct_ser.serialize_field("id", &self.id)?;
        }
        if let Some(v) = self.revenue.as_ref() {
            struct_ser.serialize_field("revenue", v)?;
        }
        if let Some(v) = self.tax.as_ref() {
            struct_ser.serialize_field("tax", v)?;
        }
        if let Some(v) = self.cost.as_ref() {
            struct_ser.serialize_field("cost", v)?;
        }
        if !self.currency.is_empty() {
            struct_ser.serialize_field("currency", &self.currency)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Transaction {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "id",
            "revenue",
            "tax",
            "cost",
            "currency",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Id,
            Revenue,
            Tax,
            Cost,
            Currency,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "id" => Ok(GeneratedField::Id),
                            "revenue" => Ok(GeneratedField::Revenue),
                            "tax" => Ok(GeneratedField::Tax),
                            "cost" => Ok(GeneratedField::Cost),
                            "currency" => Ok(GeneratedField::Currency),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Transaction;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.Transaction")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Transaction, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut id__ = None;
                let mut revenue__ = None;
                let mut tax__ = None;
                let mut cost__ = None;
                let mut currency__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Revenue => {
                            if revenue__.is_some() {
                                return Err(serde::de::Error::duplicate_field("revenue"));
                            }
                            revenue__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Tax => {
                            if tax__.is_some() {
                                return Err(serde::de::Error::duplicate_field("tax"));
                            }
                            tax__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Cost => {
                            if cost__.is_some() {
                                return Err(serde::de::Error::duplicate_field("cost"));
                            }
                            cost__ = 
                                map_.next_value::<::std::option::Option<::pbjson::private::NumberDeserialize<_>>>()?.map(|x| x.0)
                            ;
                        }
                        GeneratedField::Currency => {
                            if currency__.is_some() {
                                return Err(serde::de::Error::duplicate_field("currency"));
                            }
                            currency__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Transaction {
                    id: id__.unwrap_or_default(),
                    revenue: revenue__,
                    tax: tax__,
                    cost: cost__,
                    currency: currency__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.Transaction", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for UpsertItemsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.items.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.UpsertItemsRequest", len)?;
        if !self.items.is_empty() {
            struct_ser.serialize_field("items", &self.items)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for UpsertItemsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "items",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Items,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "items" => Ok(GeneratedField::Items),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = UpsertItemsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.UpsertItemsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<UpsertItemsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut items__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Items => {
                            if items__.is_some() {
                                return Err(serde::de::Error::duplicate_field("items"));
                            }
                            items__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(UpsertItemsRequest {
                    items: items__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.UpsertItemsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for UpsertItemsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.upserted != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.UpsertItemsResponse", len)?;
        if self.upserted != 0 {
            struct_ser.serialize_field("upserted", &self.upserted)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for UpsertItemsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "upserted",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Upserted,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "upserted" => Ok(GeneratedField::Upserted),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = UpsertItemsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.UpsertItemsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<UpsertItemsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut upserted__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Upserted => {
                            if upserted__.is_some() {
                                return Err(serde::de::Error::duplicate_field("upserted"));
                            }
                            upserted__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(UpsertItemsResponse {
                    upserted: upserted__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.UpsertItemsResponse", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WriteEventsRequest {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.events.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.WriteEventsRequest", len)?;
        if !self.events.is_empty() {
            struct_ser.serialize_field("events", &self.events)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WriteEventsRequest {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "events",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Events,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "events" => Ok(GeneratedField::Events),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WriteEventsRequest;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.WriteEventsRequest")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WriteEventsRequest, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut events__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Events => {
                            if events__.is_some() {
                                return Err(serde::de::Error::duplicate_field("events"));
                            }
                            events__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(WriteEventsRequest {
                    events: events__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.WriteEventsRequest", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for WriteEventsResponse {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.written != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("endcap.v1.WriteEventsResponse", len)?;
        if self.written != 0 {
            struct_ser.serialize_field("written", &self.written)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for WriteEventsResponse {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "written",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Written,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "written" => Ok(GeneratedField::Written),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = WriteEventsResponse;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct endcap.v1.WriteEventsResponse")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<WriteEventsResponse, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut written__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Written => {
                            if written__.is_some() {
                                return Err(serde::de::Error::duplicate_field("written"));
                            }
                            written__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(WriteEventsResponse {
                    written: written__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("endcap.v1.WriteEventsResponse", FIELDS, GeneratedVisitor)
    }
}
