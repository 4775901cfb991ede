// A CUDA driver that works on the processor: as much of libcuda and cuBLAS as convnet calls, by PyCUDA, cuda-bindings and
// nvmath, or by ``pycuda_driver.py`` where those are not installed.
//
// At most two devices (``libcuda_configure``). Work of a stream is delayed until somebody waits for it, or runs at once where
// the environment has LIBCUDA_EARLY, so that a missing wait shows. It refuses, with a line on standard error, what a driver
// refuses: streams, events and functions of another context, memory of another device that is not a peer, grids, blocks and
// shared memory beyond the limits, arguments of another size, waiting during a capture; and flags that convnet does not mean.
//
// A module is text (``libcuda.py`` writes it), one word and its operands per line: library PATH, int NAME VALUE and
// float NAME VALUE for the variables ``constant_NAME`` of the emulated kernels, kernel NAME FORMATS for their arguments.
// Names, numbers and order of arguments are those of the driver API's reference; no header of NVIDIA's is needed.
#include "libcuda.h"

#include <dlfcn.h>

#include <sstream>

extern "C" {

// -- devices and contexts

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int* version) { return *version = ::version, SUCCESS; }
int cuGetErrorName(int, const char** text) { return *text = "refused by libcuda.cpp", SUCCESS; }
int cuGetErrorString(int status, const char** text) {
    *text = status == PEERS_ALREADY ? "peer access is already enabled" : status == NOT_READY ? "not ready" : "refused by libcuda.cpp";
    return SUCCESS;
}
int cuDeviceGetCount(int* count) { return *count = devices, SUCCESS; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, SUCCESS; }
int cuDeviceGetName(char* text, int length, int device) { return snprintf(text, length, "card %d", device), SUCCESS; }
int cuDeviceGetPCIBusId(char* text, int length, int device) {
    return snprintf(text, length, "0000:%02x:00.0", device + 1), SUCCESS;
}
int cuDeviceComputeCapability(int* major, int* minor, int) {
    return *major = capability / 10, *minor = capability % 10, SUCCESS;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = TOTAL, SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == MULTIPROCESSORS ? 4 : attribute == SHARED_OF_PROCESSOR ? MOST_SHARED : attribute == UNIFIED_ADDRESSING;
    return SUCCESS;
}
int cuDeviceCanAccessPeer(int* can, int, int) { return *can = may_peer, SUCCESS; }
int cuDevicePrimaryCtxRetain(Context** context, int device) { return *context = &primary[device], SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxDetach(Context*) { REFUSE(INVALID_CONTEXT, "a primary context is released, not detached"); }
int cuCtxPushCurrent_v2(Context* context) { return contexts.push_back(context), SUCCESS; }
int cuCtxPopCurrent_v2(Context** context) {
    CONTEXT();
    if (context) *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}
int cuCtxGetCurrent(Context** context) { return *context = contexts.empty() ? nullptr : contexts.back(), SUCCESS; }
int cuCtxGetDevice(int* device) {
    if (contexts.empty()) return INVALID_CONTEXT;
    return *device = contexts.back()->device, SUCCESS;
}
int cuCtxEnablePeerAccess(Context* peer, unsigned) {
    CONTEXT();
    return peers.insert({contexts.back()->device, peer->device}).second ? SUCCESS : PEERS_ALREADY;
}

// -- memory

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    CONTEXT();
    return *total = TOTAL, *free = TOTAL - used[contexts.back()->device], SUCCESS;
}
int cuMemAlloc_v2(Address* at, size_t bytes) {
    CONTEXT();
    size_t& taken = used[contexts.back()->device];
    if (taken + bytes > TOTAL) return OUT_OF_MEMORY;
    void* block = aligned_alloc(512, (bytes + 511) / 512 * 512);
    memset(block, 0xFF, bytes);
    memory[*at = (Address)block] = {bytes, contexts.back()->device};
    taken += bytes;
    return SUCCESS;
}
int cuMemFree_v2(Address at) {
    CONTEXT();
    drain_all();
    auto found = memory.find(at);
    if (found == memory.end()) REFUSE(INVALID_VALUE, "memory that was not allocated");
    if (found->second.second != contexts.back()->device) REFUSE(INVALID_VALUE, "memory of another device");
    used[found->second.second] -= found->second.first;
    memory.erase(found);
    free((void*)at);
    return SUCCESS;
}
int cuMemHostAlloc(void** at, size_t bytes, unsigned flags) {
    CONTEXT();
    if (flags != PORTABLE) REFUSE(INVALID_VALUE, "page-locked for one context only");
    pinned[(const char*)(*at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096))] = bytes;
    return SUCCESS;
}
int cuMemFreeHost(void* at) {
    CONTEXT();
    drain_all();
    pinned.erase((const char*)at);
    free(at);
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream* stream) {
    OWN(stream);
    if (owner(to, bytes) != stream->context->device) REFUSE(ILLEGAL_ADDRESS, "no memory of this device");
    if (!is_pinned(from, bytes)) REFUSE(INVALID_VALUE, "from memory that is not page-locked: it would wait");
    issue(stream, [=] { memcpy((void*)to, from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream* stream) {
    OWN(stream);
    if (owner(from, bytes) != stream->context->device) REFUSE(ILLEGAL_ADDRESS, "no memory of this device");
    issue(stream, [=] { memcpy(to, (void*)from, bytes); });
    if (!is_pinned(to, bytes)) drain(stream);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream* stream) {
    OWN(stream);
    if (owner(to, bytes) != stream->context->device || !reachable(from, bytes)) REFUSE(ILLEGAL_ADDRESS, "out of reach");
    issue(stream, [=] { memcpy((void*)to, (void*)from, bytes); });
    return SUCCESS;
}

// -- streams and events

int cuStreamCreate(Stream** stream, unsigned flags) {
    CONTEXT();
    if (flags != NON_BLOCKING) REFUSE(INVALID_VALUE, "a stream that synchronises with the default stream");
    streams.insert(*stream = new Stream{contexts.back(), {}, nullptr});
    return SUCCESS;
}
int cuStreamDestroy_v2(Stream* stream) {
    OWN(stream);
    drain(stream);
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}
int cuStreamSynchronize(Stream* stream) {
    OWN(stream);
    if (stream->capture) REFUSE(NOT_IN_CAPTURE, "waiting while capturing");
    drain(stream);
    return SUCCESS;
}
int cuEventCreate(Event** event, unsigned flags) {
    CONTEXT();
    if (flags != BLOCKING_WITHOUT_TIMING) REFUSE(INVALID_VALUE, "the host would spin, or time be taken");
    *event = new Event{contexts.back(), nullptr};
    return events++, SUCCESS;
}
int cuEventDestroy_v2(Event* event) {
    OWN(event);
    return delete event, events--, SUCCESS;
}
int cuEventRecord(Event* event, Stream* stream) {
    OWN(stream);
    OWN(event);
    if (stream->capture) REFUSE(NOT_IN_CAPTURE, "recording an event while capturing");
    auto point = event->point = std::make_shared<Point>(Point{stream, false});
    issue(stream, [=] { point->reached = true; });
    return SUCCESS;
}
int cuEventSynchronize(Event* event) {
    OWN(event);
    reach(event->point);
    return SUCCESS;
}
int cuEventQuery(Event* event) {
    OWN(event);
    if (event->point->reached) return SUCCESS;
    reach(event->point);  // by the next look
    return NOT_READY;
}
int cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    OWN(stream);
    if (stream->capture) REFUSE(NOT_IN_CAPTURE, "waiting while capturing");
    if (!event->point) REFUSE(INVALID_VALUE, "an event that was not recorded");
    auto point = event->point;
    issue(stream, [=] { reach(point); });
    return SUCCESS;
}

// -- modules and launches

int cuModuleLoadDataEx(Module** out, const char* image, unsigned, void*, void*) {
    CONTEXT();
    Module* module = new Module{contexts.back(), nullptr, {}, {}, {}};
    std::istringstream words(image);
    std::string word, name, value;
    while (words >> word >> name) {
        if (word == "library") {
            module->library = dlopen(name.c_str(), RTLD_NOW);
            if (!module->library) REFUSE(INVALID_IMAGE, dlerror());
            continue;
        }
        words >> value;
        void* variable = dlsym(module->library, ("constant_" + name).c_str());
        if (word == "kernel") module->kernels[name] = value == "-" ? "" : value;
        else if (!variable) REFUSE(INVALID_IMAGE, "no variable for " + name);
        else if (word == "int") module->ints.push_back({(int*)variable, atoi(value.c_str())});
        else module->floats.push_back({(float*)variable, (float)atof(value.c_str())});
    }
    return *out = module, modules++, SUCCESS;
}
int cuModuleUnload(Module* module) {
    OWN(module);
    for (Stream* stream : streams)
        if (stream->context == module->context && !stream->waiting.empty()) REFUSE(INVALID_VALUE, "work may still need the module");
    return modules--, SUCCESS;
}
int cuModuleGetFunction(Function** out, Module* module, const char* name) {
    OWN(module);
    void* run = dlsym(module->library, (std::string("launch_") + name).c_str());
    if (!run) REFUSE(NOT_FOUND, name);
    Function* function = new Function{module, name, module->kernels[name], nullptr, 48 << 10};
    memcpy(&function->run, &run, sizeof run);
    return *out = function, SUCCESS;
}
int cuFuncSetBlockShape(Function*, int, int, int) { return SUCCESS; }  // PyCUDA says it once more when it launches
int cuFuncSetAttribute(Function* function, int attribute, int value) {
    if (attribute != DYNAMIC_SHARED || value > MOST_SHARED) REFUSE(INVALID_VALUE, "no such attribute, or too much");
    function->dynamic = value + OWN_SHARED;
    return SUCCESS;
}
int cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, Stream* stream, void** parameters, void** extra) {
    OWN(stream);
    OWN(function->module);
    const std::string& name = function->name;
    if (!gx || !gy || !gz || gx >> 31 || gy >> 16 || gz >> 16) REFUSE(INVALID_VALUE, name + ": no such grid");
    if (!bx || !by || !bz || bx * by * bz > 1024 || bz > 64) REFUSE(INVALID_VALUE, name + ": no such block");
    if (shared + OWN_SHARED > function->dynamic) REFUSE(INVALID_VALUE, name + ": more shared memory than was asked for");

    std::vector<size_t> offsets;
    size_t size = 0;
    for (char format : function->formats) {
        const size_t own = size_of(format);
        offsets.push_back(size = (size + own - 1) / own * own);
        size += own;
    }
    auto values = std::make_shared<std::vector<char>>(size);
    if (parameters) {
        for (size_t i = 0; i < offsets.size(); i++)
            memcpy(values->data() + offsets[i], parameters[i], size_of(function->formats[i]));
    } else {  // pairs of a number and what it means: 1 the buffer, 2 its size, 0 the end
        size_t given = 0;
        for (; *extra; extra += 2) {
            if (*extra == (void*)2) given = *(size_t*)extra[1];
            if (*extra == (void*)1) memcpy(values->data(), extra[1], size);
        }
        if (given != size) REFUSE(INVALID_VALUE, name + ": arguments of another size");
    }
    for (size_t i = 0; i < offsets.size(); i++) {
        Address at;
        memcpy(&at, values->data() + offsets[i], function->formats[i] == 'P' ? sizeof at : 0);
        if (function->formats[i] == 'P' && at && !reachable(at, 1)) REFUSE(ILLEGAL_ADDRESS, name + ": no memory of this device");
    }
    const std::vector<unsigned> extents = {gx, gy, gz, bx, by, bz};
    issue(stream, [=] {
        for (auto& constant : function->module->ints) *constant.first = constant.second;
        for (auto& constant : function->module->floats) *constant.first = constant.second;
        std::vector<void*> arguments;
        for (size_t offset : offsets) arguments.push_back(values->data() + offset);
        const char* error = function->run(extents.data(), shared, 1, arguments.data());
        if (error) {
            fprintf(stderr, "libcuda.cpp: %s: %s\n", function->name.c_str(), error);
            abort();
        }
    });
    return SUCCESS;
}

// -- graphs

int cuStreamBeginCapture_v2(Stream* stream, int) {
    OWN(stream);
    if (capturing()) REFUSE(NOT_IN_CAPTURE, "capturing already");
    stream->capture = new Graph{stream->context, {}, {}};
    return SUCCESS;
}
int cuStreamGetCaptureInfo_v3(Stream* stream, int* state, unsigned long long* number, Graph** graph, Node*** next,
                              const void** edges, size_t* count) {
    OWN(stream);
    *state = stream->capture ? 1 : 0;
    if (!stream->capture) return SUCCESS;
    if (number) *number = 1;
    if (graph) *graph = stream->capture;
    if (next) *next = stream->capture->next.data();
    static char plain[8 * 1024];  // data of edges: zeros
    if (edges) *edges = plain;
    if (count) *count = stream->capture->next.size();
    return SUCCESS;
}
int cuStreamUpdateCaptureDependencies_v2(Stream* stream, Node** nodes, const void*, size_t count, unsigned flags) {
    OWN(stream);
    if (!stream->capture) REFUSE(NOT_IN_CAPTURE, "nothing is captured");
    if (flags != 1) REFUSE(INVALID_VALUE, "dependencies are to be set, not added");
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (auto& node : stream->capture->nodes) known = known || node.get() == nodes[i];
        if (!known) REFUSE(INVALID_VALUE, "a node that is not of this capture");
    }
    stream->capture->next = {nodes, nodes + count};
    return SUCCESS;
}
// As CUDA 12 calls both until its version 12.3: without data of edges.
int cuStreamGetCaptureInfo_v2(Stream* stream, int* state, unsigned long long* number, Graph** graph, Node*** next, size_t* count) {
    return cuStreamGetCaptureInfo_v3(stream, state, number, graph, next, nullptr, count);
}
int cuStreamUpdateCaptureDependencies(Stream* stream, Node** nodes, size_t count, unsigned flags) {
    return cuStreamUpdateCaptureDependencies_v2(stream, nodes, nullptr, count, flags);
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
    OWN(stream);
    if (!stream->capture) REFUSE(INVALID_VALUE, "nothing is captured");
    *graph = stream->capture;
    stream->capture = nullptr;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(Graph** out, Graph* graph, unsigned long long) {
    CONTEXT();
    return *out = new Graph(*graph), graphs++, SUCCESS;
}
// In an order that the dependencies allow: with LIBCUDA_EARLY that of issue; else the last node that can run comes first, and
// one, another in each launch, after all that need not wait for it.
int cuGraphLaunch(Graph* graph, Stream* stream) {
    OWN(stream);
    OWN(graph);
    static unsigned random = 1;
    random = random * 1664525 + 1013904223;
    const int delayed = graph->nodes.empty() ? 0 : (random >> 8) % graph->nodes.size();
    std::set<int> done;
    while (done.size() < graph->nodes.size()) {
        std::vector<Node*> ready;
        for (auto& node : graph->nodes) {
            bool can = !done.count(node->number);
            for (int before : node->before) can = can && done.count(before);
            if (can) ready.push_back(node.get());
        }
        const bool wait = ready.size() > 1 && ready.back()->number == delayed;
        Node* chosen = early ? ready[0] : ready[ready.size() - 1 - wait];
        done.insert(chosen->number);
        issue(stream, chosen->work);
    }
    return SUCCESS;
}
int cuGraphDestroy(Graph* graph) { return delete graph, SUCCESS; }
int cuGraphExecDestroy(Graph* graph) {
    OWN(graph);
    return delete graph, graphs--, SUCCESS;
}

// -- cuBLAS: column-major, c[i, j] at i + j ldc

int cublasLtGetVersion() { return 130000; }
int cublasGetProperty(int, int* value) { return *value = 13, SUCCESS; }
int cublasCreate_v2(Handle** handle) {
    CONTEXT();
    return *handle = new Handle{contexts.back(), nullptr, nullptr, 0}, handles++, SUCCESS;
}
int cublasDestroy_v2(Handle* handle) {
    OWN(handle);
    return delete handle, handles--, SUCCESS;
}
int cublasSetStream_v2(Handle* handle, Stream* stream) { return handle->stream = stream, SUCCESS; }
int cublasSetMathMode(Handle*, int) { return SUCCESS; }
int cublasSetWorkspace_v2(Handle* handle, float* workspace, size_t bytes) {
    OWN(handle);
    if (owner((Address)workspace, bytes) != handle->context->device) REFUSE(INVALID_VALUE, "a workspace elsewhere");
    return handle->workspace = workspace, handle->bytes = bytes, SUCCESS;
}
int cublasSgemm_v2(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k, const float* alpha_at, const float* a,
                   int lda, const float* b, int ldb, const float* beta_at, float* c, int ldc) {
    OWN(handle);
    if (lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m) REFUSE(INVALID_VALUE, "rows that overlap");
    const float alpha = *alpha_at, beta = *beta_at;
    float* sums = handle->workspace;
    if (handle->bytes / sizeof(float) < (size_t)m * n) REFUSE(INVALID_VALUE, "a workspace that is too small");
    issue(handle->stream, [=] {
        for (long j = 0; j < n; j++)
            for (long i = 0; i < m; i++) {
                double sum = 0;
                for (long l = 0; l < k; l++)
                    sum += (double)a[transpose_a ? l + i * lda : i + l * lda] * b[transpose_b ? j + l * ldb : l + j * ldb];
                sums[i + j * m] = alpha * sum;
            }
    });
    issue(handle->stream, [=] {  // another kernel, which is passed the sums in the workspace
        for (long j = 0; j < n; j++)
            for (long i = 0; i < m; i++) c[i + j * ldc] = sums[i + j * m] + (beta == 0 ? 0 : beta * c[i + j * ldc]);
    });
    return SUCCESS;
}

// -- for those that look functions up, and for the tests

int cuGetProcAddress_v2(const char* name, void** out, int version, unsigned long long, int* found) {
    void* self = dlopen("libcuda.so.1", RTLD_NOW);
    *out = nullptr;
    if (version < 12030 && !strcmp(name, "cuStreamGetCaptureInfo")) *out = (void*)cuStreamGetCaptureInfo_v2;
    if (version < 12030 && !strcmp(name, "cuStreamUpdateCaptureDependencies")) *out = (void*)cuStreamUpdateCaptureDependencies;
    for (const char* ending : {"_v3", "_v2", "WithFlags", ""})
        if (!*out) *out = dlsym(self, (std::string(name) + ending).c_str());
    if (found) *found = *out ? 0 : 1;
    return *out ? SUCCESS : NOT_FOUND;
}
int cuGetProcAddress(const char* name, void** out, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, out, version, flags, nullptr);
}
int cuGetExportTable(const void**, const void*) { return NOT_FOUND; }  // NVRTC asks for one
void libcuda_configure(int count, int capability_of_each, int cuda, int peers_possible) {
    devices = count, capability = capability_of_each, version = cuda, may_peer = peers_possible;
    peers.clear(), refusals.clear();
}
const char* libcuda_refusals() { return refusals.c_str(); }
const char* libcuda_living() {  // what was made and not destroyed
    static char text[200];
    snprintf(text, sizeof text, "%zu arrays, %zu page-locked, %zu streams, %d events, %d modules, %d graphs, %d handles",
             memory.size(), pinned.size(), streams.size(), events, modules, graphs, handles);
    return text;
}
}
