// hnswlib with a filter in its own language: a functor over one byte an item. Its Python package can only ask a Python
// function about each item that a walk meets, and would be measured by that. Built by retrieval.py from the headers of the
// same version.

#include <cstddef>
#include <cstdint>

#include "hnswlib/hnswlib.h"

namespace {

struct Kept : hnswlib::BaseFilterFunctor {
    const std::uint8_t* kept = nullptr;
    bool operator()(hnswlib::labeltype label) override { return kept[label] != 0; }
};

struct Index {
    hnswlib::InnerProductSpace space;
    hnswlib::HierarchicalNSW<float> graph;
    Index(const char* path, std::size_t dim, std::size_t count) : space(dim), graph(&space, path, false, count) {}
};

}  // namespace

extern "C" {

void* index_load(const char* path, std::size_t dim, std::size_t count) { return new Index(path, dim, count); }

// `labels` takes k of each query, -1 where fewer were found, in no order.
void index_search(void* opaque, const float* queries, std::size_t count, std::size_t dim, std::size_t k, std::size_t ef,
                  const std::uint8_t* kept, std::int64_t* labels) {
    Index& index = *static_cast<Index*>(opaque);
    index.graph.setEf(ef);
    Kept filter;
    filter.kept = kept;
    for (std::size_t query = 0; query < count; ++query) {
        auto found = index.graph.searchKnn(queries + query * dim, k, &filter);
        for (std::size_t place = 0; place < k; ++place) {
            labels[query * k + place] = -1;
            if (!found.empty()) {
                labels[query * k + place] = static_cast<std::int64_t>(found.top().second);
                found.pop();
            }
        }
    }
}
}
