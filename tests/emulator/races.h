// Annotations of a kernel for ThreadSanitizer, with RACES defined; else nothing.
//
// To the sanitizer each fiber is a thread of its own, and only barriers order them; a block and the next are made of
// different threads, which nothing orders. Of the emulator itself it sees nothing, and shared memory is new in every block.
#pragma once
#include <cstddef>
#include <cstdint>

#define UNSEEN __attribute__((no_sanitize("thread")))

#ifdef RACES
extern "C" {
void* __tsan_create_fiber(unsigned);
void* __tsan_get_current_fiber();
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_write_range(void*, size_t);
void __tsan_java_alloc(uintptr_t, uintptr_t);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#define INLINE inline __attribute__((always_inline))  // what changes threads must not be left as another one

namespace races {

constexpr unsigned TEAMS = 2;
inline void* new_thread() { return __tsan_create_fiber(0); }
inline void* this_thread() { return __tsan_get_current_fiber(); }
INLINE void become(void* thread) { __tsan_switch_to_fiber(thread, /* orders nothing */ 1); }
inline void come(void* place) { __tsan_release(place); }      // what was done before this ...
inline void go_on(void* place) { __tsan_acquire(place); }     // ... was before what is done after this
inline void writes(void* at, size_t bytes) { __tsan_write_range(at, bytes); }
inline void renew(const char* start, const char* stop) {
    const uintptr_t first = (uintptr_t)start & ~7ul;
    if (start != stop) __tsan_java_alloc(first, (((uintptr_t)stop + 7) & ~7ul) - first);  // forgets who was there
}

// Nothing that this thread does is looked at while one of these lives.
struct Unwatched {
    Unwatched() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
    ~Unwatched() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__), AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
};

}  // namespace races
#else
namespace races {

constexpr unsigned TEAMS = 1;
inline void* new_thread() { return nullptr; }
inline void* this_thread() { return nullptr; }
inline void become(void*) {}
inline void come(void*) {}
inline void go_on(void*) {}
inline void writes(void*, size_t) {}
inline void renew(const char*, const char*) {}
struct Unwatched {
    Unwatched() {}
};

}  // namespace races
#endif
