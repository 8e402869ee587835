"""Writes the files of tests/foreign.rs with pyarrow 26: the contract in the types that other programs use.

    pip install pyarrow==26.0.1 && python write.py
"""

import datetime
import decimal

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

EVENTS = pa.table({
    # Whole numbers as ids; names that are aliases; microseconds, shown in another zone (the instants are UTC).
    "event_id": pa.array([1, 2, 3], pa.int64()),
    "event_type": pa.array(["Product Viewed", "purchase", "page_view"], pa.string()).dictionary_encode(),
    "timestamp": pa.array(
        [datetime.datetime(2026, 11, 2, 12, 0, 0, 123456), datetime.datetime(2026, 11, 2, 12, 30), None],
        pa.timestamp("us", "Europe/Berlin"),
    ).fill_null(datetime.datetime(2026, 11, 2, 13, 0, tzinfo=datetime.timezone.utc)),
    "visitor_id": pa.array(["v1", "v1", "v2"], pa.large_string()),
    "user_id": pa.nulls(3),
    "items": pa.array(
        [
            [{"quantity": None, "item_id": "boots", "unit_price": decimal.Decimal("89.90")}],
            [
                {"quantity": 2, "item_id": "boots", "unit_price": decimal.Decimal("79.90")},
                {"quantity": 1, "item_id": "laces", "unit_price": None},
            ],
            None,
        ],
        pa.large_list(
            pa.struct([("quantity", pa.int64()), ("item_id", pa.large_string()), ("unit_price", pa.decimal128(10, 2))])
        ),
    ),
    "transaction": pa.array([None, {"id": "o1", "revenue": 163}, None], pa.struct([("id", pa.string()), ("revenue", pa.int32())])),
    "page_categories": pa.array([None, [], ["Shoes > Boots"]], pa.list_(pa.large_string())),
    "attributes": pa.array([[("ref", "mail")], None, []], pa.map_(pa.string(), pa.large_string())),
    "warehouse": pa.array([{"x": 1}, {"x": 2}, None], pa.struct([("x", pa.int8())])),
})


def variant(name, **columns):
    """The same events with other columns, as an IPC file."""
    table = EVENTS
    for column, values in columns.items():
        index = table.schema.get_field_index(column)
        table = table.remove_column(index) if values is None else table.set_column(index, column, values)
    with pa.ipc.new_file(name, table.schema) as writer:
        writer.write_table(table)


with pa.ipc.new_file("events.arrow", EVENTS.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
    writer.write_table(EVENTS, max_chunksize=2)
with pa.ipc.new_stream("events.arrows", EVENTS.schema) as writer:
    writer.write_table(EVENTS, max_chunksize=2)
pq.write_table(EVENTS, "events.parquet", compression="snappy", row_group_size=2)
pq.write_table(pa.table({"id": ["a", "b"], "embedding": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)), "availability": ["In stock", None]}), "items.parquet")

variant("no_visitor.arrow", visitor_id=None)
variant("wrong_type.arrow", timestamp=pa.array(["2026-11-02", "x", "y"]))
variant("unknown_type.arrow", event_type=pa.array(["view", "purchase", "bought"]))
variant("null_id.arrow", event_id=pa.array(["a", None, "c"]))
variant("control.arrow", visitor_id=pa.array(["v1", "v1", "v\n2"]))
variant("too_large.arrow", items=pa.array([[{"item_id": "a", "quantity": 1}], [{"item_id": "a", "quantity": 1}, {"item_id": "b", "quantity": -1}], []]))
variant("nan.arrow", items=pa.array([[{"item_id": "a", "unit_price": 1.0}], [{"item_id": "a", "unit_price": 2.0}, {"item_id": "b", "unit_price": float("nan")}], []]))
variant("no_items.arrow", items=pa.array([[{"item_id": "a"}], [], []]))
variant("null_item.arrow", items=pa.array([[{"item_id": "a"}], [None], []], pa.list_(pa.struct([("item_id", pa.string())]))))
variant("no_item_id.arrow", items=pa.array([[{"id": "a"}], [{"id": "a"}], []]))
variant("year_10000.arrow", timestamp=pa.array([0, 1, 253402300800000], pa.int64()))
