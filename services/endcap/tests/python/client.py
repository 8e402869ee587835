"""Calls a running service as a storefront would: stubs made from the published proto, nothing else.

Usage: client.py PROTO_DIR ADDRESS VISITOR_ID
Prints the slate as JSON, then what a refused request says.
"""

import json
import pathlib
import sys
import tempfile
from importlib.resources import files

import grpc
from grpc_tools import protoc


def stubs(proto_dir: pathlib.Path, out: str) -> None:
    """Generates the Python stubs of every .proto of the contract."""
    protos = sorted(str(path) for path in proto_dir.glob("endcap/v1/*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{proto_dir}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + protos) != 0:
        sys.exit("protoc refused the published proto files")
    sys.path.insert(0, out)


def main() -> None:
    proto_dir, address, visitor = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory() as out:
        stubs(proto_dir, out)
        from endcap.v1 import recommendation_pb2 as messages
        from endcap.v1 import recommendation_pb2_grpc as services

        with grpc.insecure_channel(address) as channel:
            service = services.RecommendationServiceStub(channel)
            answer = service.Recommend(
                messages.RecommendRequest(visitor_id=visitor, page_size=5, return_item=True), timeout=5
            )
            slate = {
                "results": [
                    {"item_id": result.item_id, "title": result.item.title, "propensity": result.propensity}
                    for result in answer.results
                ],
                "attribution_token": answer.attribution_token,
                "bundle": answer.served_by.bundle_version,
            }
            print(json.dumps(slate))
            try:
                service.Recommend(messages.RecommendRequest(visitor_id=visitor, page_size=-1), timeout=5)
            except grpc.RpcError as refused:
                print(json.dumps({"code": refused.code().name, "message": refused.details()}))


if __name__ == "__main__":
    main()
