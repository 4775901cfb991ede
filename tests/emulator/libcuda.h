// What a driver that works on the processor keeps (``libcuda.cpp``): its objects, their streams of work, and how it refuses.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

enum Status {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400,
    NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, PEERS_ALREADY = 704, NOT_IN_CAPTURE = 900,
};
enum { MULTIPROCESSORS = 16, UNIFIED_ADDRESSING = 41, SHARED_OF_PROCESSOR = 81, DYNAMIC_SHARED = 8 };  // attributes
enum { NON_BLOCKING = 1, PORTABLE = 1, BLOCKING_WITHOUT_TIMING = 3 };  // flags of streams, page-locked memory and events
constexpr size_t TOTAL = size_t(8) << 30;
constexpr int DEVICES = 2, MOST_SHARED = 227 << 10, OWN_SHARED = 8 << 10;  // of a kernel, besides dynamic memory

using Work = std::function<void()>;
typedef unsigned long long Address;

struct Context { int device; };
struct Node { int number; Work work; std::vector<int> before; };  // of a graph: what its numbers name is done before it
struct Graph {
    Context* context;
    std::vector<std::shared_ptr<Node>> nodes;
    std::vector<Node*> next;  // while it is captured: what the next node depends on
};
struct Stream { Context* context; std::deque<Work> waiting; Graph* capture; };
struct Point { Stream* stream; bool reached; };
struct Event { Context* context; std::shared_ptr<Point> point; };
struct Handle { Context* context; Stream* stream; float* workspace; size_t bytes; };  // of cuBLAS
struct Module {
    Context* context;
    void* library;
    std::vector<std::pair<int*, int>> ints;
    std::vector<std::pair<float*, float>> floats;
    std::map<std::string, std::string> kernels;
};
struct Function {
    Module* module;
    std::string name, formats;
    const char* (*run)(const unsigned*, size_t, unsigned, void**);
    unsigned dynamic;
};

Context primary[DEVICES] = {{0}, {1}};
thread_local std::vector<Context*> contexts;  // threads take turns: nothing here is locked
std::map<Address, std::pair<size_t, int>> memory;  // start: bytes, device
std::map<const char*, size_t> pinned;
std::set<std::pair<int, int>> peers;  // (who reaches, whom)
std::set<Stream*> streams;
size_t used[DEVICES];
int events, modules, graphs, handles;  // how many there are
int devices = DEVICES, capability = 90, version = 13000, may_peer = 1;
std::string refusals;
const bool early = getenv("LIBCUDA_EARLY");

int refuse(Status status, const char* call, const std::string& why) {
    const std::string line = std::string("libcuda.cpp: ") + call + ": " + why + "\n";
    refusals += line;
    fputs(line.c_str(), stderr);
    return status;
}
#define REFUSE(status, why) return refuse(status, __func__, why)
#define CONTEXT() do { if (contexts.empty()) REFUSE(INVALID_CONTEXT, "no context is current"); } while (0)
#define OWN(thing) \
    do { CONTEXT(); if (!(thing) || (thing)->context != contexts.back()) REFUSE(INVALID_HANDLE, "of another context"); } while (0)

void drain(Stream* stream) {
    while (!stream->waiting.empty()) {
        Work next = stream->waiting.front();
        stream->waiting.pop_front();
        next();
    }
}

void drain_all() {
    for (Stream* stream : streams) drain(stream);
}

void issue(Stream* stream, Work work) {
    if (Graph* graph = stream->capture) {
        Node node{(int)graph->nodes.size(), work, {}};
        for (Node* before : graph->next) node.before.push_back(before->number);
        graph->nodes.push_back(std::make_shared<Node>(node));
        graph->next = {graph->nodes.back().get()};
        return;
    }
    stream->waiting.push_back(work);
    if (early) drain(stream);
}

void reach(const std::shared_ptr<Point>& point) {
    while (point && !point->reached) {
        Work next = point->stream->waiting.front();
        point->stream->waiting.pop_front();
        next();
    }
}

int owner(Address at, size_t bytes) {
    auto found = memory.upper_bound(at);
    if (found == memory.begin()) return -1;
    --found;
    return at + bytes <= found->first + found->second.first ? found->second.second : -1;
}

bool reachable(Address at, size_t bytes) {
    const int here = contexts.back()->device, there = owner(at, bytes);
    return there == here || peers.count({here, there});
}

bool is_pinned(const void* at, size_t bytes) {
    auto found = pinned.upper_bound((const char*)at);
    if (found == pinned.begin()) return false;
    --found;
    return (const char*)at + bytes <= found->first + found->second;
}

bool capturing() {
    for (Stream* stream : streams)
        if (stream->capture) return true;
    return false;
}

size_t size_of(char format) { return format == 'i' || format == 'I' || format == 'f' ? 4 : 8; }

}  // namespace
