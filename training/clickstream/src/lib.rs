//! The clickstream on disk: Arrow and Parquet schemas, readers and writers, importers, splits in time, the synthetic shop.
