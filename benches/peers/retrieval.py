"""The peers of `endcap-bench retrieval`: hnswlib, usearch and faiss, built once, cached, and measured when asked.

    retrieval.py build INDEX.json        builds an index of raw float32 vectors and saves it, with what that took
    retrieval.py serve INDEX.json        loads it, then answers one JSON object a line on standard input

INDEX.json says which library, its parameters, where the vectors are and where the index goes. Everything printed on
standard output is one JSON object a line. Queries are answered one at a time, as a service would: where a library takes
many at once, its loop over them is in C++, so that Python's own time is not counted.
"""

import ctypes
import glob
import hashlib
import json
import os
import resource
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np

DIM = 64
K = 100
# Queries that one call of a library's own loop answers, for each thread.
CHUNK = 32


def say(**fields):
    print(json.dumps(fields), flush=True)


def memory():
    """Bytes of this process in memory now, and at the most so far."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return tuple(int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rows(path):
    return np.fromfile(path, dtype=np.float32).reshape(-1, DIM)


class Hnswlib:
    """`search` is ef. Filters are asked in C++ (hnswlib_filter.cpp)."""

    filtered = "filter functor"

    def __init__(self, M, ef_construction):
        import hnswlib

        self.M, self.ef_construction = M, ef_construction
        self.index = hnswlib.Index(space="ip", dim=DIM)
        self.allowed, self.filtering = None, None

    def build(self, items, threads):
        self.index.init_index(len(items), M=self.M, ef_construction=self.ef_construction, random_seed=1)
        self.index.add_items(items, np.arange(len(items)), num_threads=threads)

    def save(self, path):
        self.index.save_index(path)

    def load(self, path, count):
        self.path, self.count = path, count
        self.index.load_index(path, max_elements=count)

    def filter(self, allowed):
        self.allowed = None if allowed is None else np.ascontiguousarray(allowed)
        if self.filtering is None and allowed is not None:
            self.library = ctypes.CDLL(hnswlib_filter(os.path.dirname(self.path)))
            self.library.index_load.restype = ctypes.c_void_p
            size = ctypes.c_size_t
            self.library.index_load.argtypes = [ctypes.c_char_p, size, size]
            self.filtering = ctypes.c_void_p(self.library.index_load(self.path.encode(), DIM, self.count))

    def find(self, queries, search, threads):
        if self.allowed is None:
            self.index.set_ef(max(search, K))
            return self.index.knn_query(queries, k=K, num_threads=threads)[0]
        queries = np.ascontiguousarray(queries)
        found = np.empty((len(queries), K), np.int64)
        size, at = ctypes.c_size_t, lambda array: ctypes.c_void_p(array.ctypes.data)
        self.library.index_search(
            self.filtering, at(queries), size(len(queries)), size(DIM), size(K), size(max(search, K)),
            at(self.allowed), at(found),
        )
        return found

    def rate(self, queries, search, seconds, threads):
        return in_chunks(self, queries, search, seconds, threads, CHUNK * threads)

    def batch(self, queries, search, seconds, threads):
        return in_chunks(self, queries, search, seconds, threads, len(queries))


def hnswlib_filter(cache):
    """The library built from hnswlib_filter.cpp and hnswlib's headers, which are in its source distribution alone."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hnswlib_filter.cpp")
    with open(source, "rb") as file:
        digest = hashlib.sha256(file.read() + version("hnswlib").encode()).hexdigest()[:24]
    built = os.path.join(cache, f"hnswlib-filter-{digest}.so")
    if not os.path.exists(built):
        wanted = f"hnswlib=={version('hnswlib')}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--no-binary", "hnswlib", "--dest", cache, wanted], check=True, stdout=sys.stderr)
        (archive,) = glob.glob(os.path.join(cache, f"hnswlib-{version('hnswlib')}.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(cache, filter="data")
        headers = archive.removesuffix(".tar.gz")
        # As the package builds itself.
        compiler = ["c++", "-std=c++14", "-O3", "-march=native", "-fPIC", "-shared", "-I", headers]
        subprocess.run([*compiler, source, "-o", built + ".part"], check=True, stdout=sys.stderr)
        os.rename(built + ".part", built)
    return built


class Usearch:
    """`search` is expansion_search. Its Python has no filters."""

    filtered = None

    def __init__(self, dtype, connectivity, expansion_add):
        from usearch.index import Index

        # 8-bit vectors are scaled by their own norm: the cosine is what its i8 is made for.
        metric = "ip" if dtype == "f32" else "cos"
        self.index = Index(
            ndim=DIM, metric=metric, dtype=dtype, connectivity=connectivity, expansion_add=expansion_add
        )

    def build(self, items, threads):
        self.index.add(np.arange(len(items)), items, threads=threads)

    def save(self, path):
        self.index.save(path)

    def load(self, path, count):
        self.index.load(path)

    def find(self, queries, search, threads):
        self.index.expansion_search = max(search, K)
        return self.index.search(queries, K, threads=threads).keys

    def rate(self, queries, search, seconds, threads):
        return in_chunks(self, queries, search, seconds, threads, CHUNK * threads)

    def batch(self, queries, search, seconds, threads):
        return in_chunks(self, queries, search, seconds, threads, len(queries))


class Faiss:
    """`search` is efSearch, nprobe, or nprobe and k_factor. Each call takes one query, by the address of its numbers."""

    filtered = "selector"

    def __init__(self, factory, ef_construction=None):
        import faiss

        self.faiss, self.factory = faiss, factory
        self.index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
        if ef_construction is not None:
            self.index.hnsw.efConstruction = ef_construction
        self.selector = None

    def build(self, items, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index.train(items)
        self.index.add(items)

    def save(self, path):
        self.faiss.write_index(self.index, path)

    def load(self, path, count):
        self.index = self.faiss.read_index(path)

    def filter(self, allowed):
        if allowed is None:
            self.selector = None
            return
        self.bits = np.packbits(allowed, bitorder="little")
        self.selector = self.faiss.IDSelectorBitmap(len(self.bits), self.faiss.swig_ptr(self.bits))

    def parameters(self, search):
        more = {} if self.selector is None else {"sel": self.selector}
        if "HNSW" in self.factory:
            return self.faiss.SearchParametersHNSW(efSearch=max(search, K), **more)
        if "RFlat" not in self.factory:
            return self.faiss.SearchParametersIVF(nprobe=search, **more)
        nprobe, k_factor = search
        base = self.faiss.SearchParametersIVF(nprobe=nprobe, **more)
        parameters = self.faiss.IndexRefineSearchParameters(k_factor=k_factor, base_index_params=base)
        parameters.kept_alive = base
        return parameters

    def one_by_one(self, queries, search):
        self.faiss.omp_set_num_threads(1)
        scores, labels = np.empty(K, np.float32), np.empty(K, np.int64)
        out = self.faiss.swig_ptr(scores), self.faiss.swig_ptr(labels)
        parameters = self.parameters(search)
        pointers = [self.faiss.swig_ptr(query) for query in queries]

        def answer(i):
            self.index.search_c(1, pointers[i % len(pointers)], K, *out, parameters)

        return answer, labels

    def find(self, queries, search, threads):
        answer, labels = self.one_by_one(queries, search)
        found = np.empty((len(queries), K), np.int64)
        for i in range(len(queries)):
            answer(i)
            found[i] = labels
        return found

    def rate(self, queries, search, seconds, threads):
        done, spent = [0] * threads, [0.0] * threads

        def work(thread):
            answer, _ = self.one_by_one(queries, search)
            start = time.perf_counter()
            count, i = 0, thread * len(queries) // threads
            while spent[thread] < seconds:
                for _ in range(16):
                    answer(i)
                    i += 1
                count += 16
                spent[thread] = time.perf_counter() - start
            done[thread] = count

        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(1, threads)]
        for worker in workers:
            worker.start()
        work(0)
        for worker in workers:
            worker.join()
        return sum(count / took for count, took in zip(done, spent))

    def batch(self, queries, search, seconds, threads):
        from threadpoolctl import threadpool_limits

        self.faiss.omp_set_num_threads(threads)
        parameters, done, start = self.parameters(search), 0, time.perf_counter()
        with threadpool_limits(threads):
            while True:
                self.index.search(queries, K, params=parameters)
                done += len(queries)
                took = time.perf_counter() - start
                if took >= seconds:
                    return done / took


def in_chunks(index, queries, search, seconds, threads, size):
    at, done = 0, 0
    start = time.perf_counter()
    while True:
        chunk = queries[at : at + size]
        index.find(chunk, search, threads)
        done += len(chunk)
        at = (at + size) % len(queries)
        took = time.perf_counter() - start
        if took >= seconds:
            return done / took


LIBRARIES = {"hnswlib": (Hnswlib, "hnswlib"), "usearch": (Usearch, "usearch"), "faiss": (Faiss, "faiss")}


def version(library):
    from importlib.metadata import version

    return version("faiss-cpu" if library == "faiss" else library)


def describe(path):
    """The order in INDEX.json, and the files that the index and what its build took are cached in."""
    with open(path) as file:
        order = json.load(file)
    with open(order["items"], "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    what = [digest, order["library"], version(order["library"]), order["parameters"]]
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
    cached = os.path.join(order["cache"], f"{order['library']}-{key}")
    return order, cached + ".index", cached + ".json"


def build(path):
    order, index_file, sidecar = describe(path)
    if order["library"] == "hnswlib":
        hnswlib_filter(order["cache"])
    if os.path.exists(sidecar):
        return
    index = LIBRARIES[order["library"]][0](**order["parameters"])
    items = rows(order["items"])
    before, start, cpu = memory()[0], time.perf_counter(), cpu_seconds()
    index.build(items, order["threads"])
    took = {"build_s": time.perf_counter() - start, "build_cpu_s": cpu_seconds() - cpu}
    took["build_bytes"] = memory()[1] - before
    # Renamed when they are whole: a build that was cut off is built again.
    index.save(index_file + ".part")
    took["file_bytes"] = os.path.getsize(index_file + ".part")
    with open(sidecar + ".part", "w") as file:
        json.dump({**took, "order": order, "version": version(order["library"])}, file)
    os.rename(index_file + ".part", index_file)
    os.rename(sidecar + ".part", sidecar)


def serve(path):
    order, index_file, sidecar = describe(path)
    with open(sidecar) as file:
        built = json.load(file)
    queries = rows(order["queries"])
    recalls, recalls_file = {}, sidecar.removesuffix(".json") + ".recalls.json"
    if os.path.exists(recalls_file):
        with open(recalls_file) as file:
            recalls = json.load(file)
    index = LIBRARIES[order["library"]][0](**order["parameters"])
    # Into the system's cache, by another process: what this one has read and freed would be used again unseen.
    subprocess.run(["cat", index_file], stdout=subprocess.DEVNULL, check=True)
    before, start = memory()[0], time.perf_counter()
    index.load(index_file, order["count"])
    load_s = time.perf_counter() - start
    first = order["search"]
    index.find(queries[:8], first, 1)
    say(
        version=version(order["library"]),
        filtered=index.filtered,
        load_s=load_s,
        serve_bytes=memory()[0] - before,
        blas=blas(),
        **{key: built[key] for key in ("build_s", "build_cpu_s", "build_bytes", "file_bytes")},
    )
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["op"] == "filter":
            # One byte an item; the true answers are those among the allowed.
            allowed = np.fromfile(asked["allowed"], np.uint8) if asked["allowed"] else None
            index.filter(allowed)
            say(done=True)
        elif asked["op"] == "recall":
            # The same whenever it is asked, and long in coming.
            with open(asked["truth"], "rb") as truth, open(order["queries"], "rb") as file:
                digests = [hashlib.file_digest(file, "sha256").hexdigest() for file in (truth, file)]
            key = json.dumps([*digests, asked["search"]])
            if key not in recalls:
                truth = np.fromfile(asked["truth"], np.int32).reshape(len(queries), K)
                recalls[key] = recall(index.find(queries, asked["search"], 1), truth)
                with open(recalls_file + ".part", "w") as file:
                    json.dump(recalls, file)
                os.rename(recalls_file + ".part", recalls_file)
            say(recall=recalls[key])
        elif asked["op"] in ("rate", "batch"):
            measure = getattr(index, asked["op"])
            say(rate=measure(queries, asked["search"], asked["seconds"], asked["threads"]))


def recall(found, truth):
    """The share of the true answers that was found; -1 stands where there is none."""
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found.astype(np.int64), truth))
    return float(hits / max(1, (truth >= 0).sum()))


def blas():
    from threadpoolctl import threadpool_info

    return [pool.get("architecture") for pool in threadpool_info() if pool["user_api"] == "blas"]


if __name__ == "__main__":
    {"build": build, "serve": serve}[sys.argv[1]](sys.argv[2])
