// What stands for CUDA when a C++ compiler compiles a kernel: its threads are threads, or one thread.
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __device__
// One block runs at a time, so what a block shares may be static.
#define __shared__ static

struct Index { int x, y; };
static thread_local Index threadIdx;
static Index blockIdx, blockDim, gridDim;
static std::barrier<> *all;

static void __syncthreads() { if (all) all->arrive_and_wait(); }

template <class T> static T atomicAdd(T *where, T what) {
    return std::atomic_ref<T>(*where).fetch_add(what);
}
static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
// Rounded down.
static float __fsub_rd(float a, float b) {
    double exact = (double)a - (double)b;
    float near = (float)exact;
    return (double)near > exact ? std::nextafter(near, -INFINITY) : near;
}

template <class Kernel> static void launch(Index blocks, int threads, Kernel kernel) {
    blockDim.x = threads;
    gridDim = blocks;
    for (int block = 0; block < blocks.x * blocks.y; block++) {
        blockIdx = {block % blocks.x, block / blocks.x};
        if (threads == 1) {
            threadIdx.x = 0;
            all = nullptr;
            kernel();
            continue;
        }
        std::barrier<> together(threads);
        all = &together;
        std::vector<std::thread> running;
        for (int number = 0; number < threads; number++) {
            running.emplace_back([=] { threadIdx.x = number; kernel(); });
        }
        for (std::thread &one : running) one.join();
    }
}
