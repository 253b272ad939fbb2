// Keeps, for each query, the rows of a tile that may be in its answer, in two steps.
//
// A query has a list of rows with their estimates. join_rows adds each row of the tile whose estimate
// reaches the query's threshold; a query may have several blocks of threads, which share its list. Then
// raise_thresholds, one block a query, raises the threshold to the k-th best estimate in the list less the
// margin, and who falls below it leaves. A list has room for kept_max rows and a whole tile, so that
// joining needs no check; a query whose list stays longer than kept_max is given up: its threshold is
// infinite from then on, and its count -1.
//
// No header is included: NVRTC compiles this as it stands, and so does a C++ compiler behind a few lines
// that stand for CUDA (tests/conformance/cuda.h).

#define DOTPRODUCT 0
#define COSINE 1
#define NEVER __uint_as_float(0x7f800000u)
// Rows whose products and norms a thread has under way at once.
#define UNDER_WAY 4
// So many values are told apart by counting who is larger.
#define FEW 256

// Floats as integers of the same order, but for -0, which comes before 0.
__device__ static unsigned key_of(float value) {
    unsigned bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ static float value_of(unsigned key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// The k-th largest of count > k values, FEW at most: k - 1 are larger, or equal and before it.
__device__ static float kth_largest_of_few(const float *values, int count, int k) {
    __shared__ float shared[FEW];
    __shared__ float found;
    for (int i = threadIdx.x; i < count; i += blockDim.x) shared[i] = values[i];
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        int before = 0;
        for (int j = 0; j < count; j++) {
            before += shared[j] > shared[i] || (shared[j] == shared[i] && j < i);
        }
        if (before == k - 1) found = shared[i];
    }
    __syncthreads();
    return found;
}

// The same of any number of values, by eight bits of its key at a time.
__device__ static float kth_largest(const float *values, int count, unsigned k) {
    __shared__ unsigned bins[256];
    __shared__ unsigned chosen, left;
    unsigned known = 0, prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int bin = threadIdx.x; bin < 256; bin += blockDim.x) bins[bin] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            unsigned key = key_of(values[i]);
            if ((key & known) == prefix) atomicAdd(&bins[(key >> shift) & 255u], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned passed = 0, bin = 255;
            while (passed + bins[bin] < k) passed += bins[bin--];
            chosen = bin;
            left = k - passed;
        }
        __syncthreads();
        prefix |= chosen << shift;
        known |= 255u << shift;
        k = left;
    }
    return value_of(prefix);
}

// Moves what reaches the threshold to the front of a list; returns how many do.
__device__ static int compact(int *rows, float *estimates, int count, float threshold) {
    __shared__ int kept;
    if (threadIdx.x == 0) kept = 0;
    for (int first = 0; first < count; first += blockDim.x) {
        int i = first + threadIdx.x;
        int row = 0;
        float estimate = 0;
        bool stays = false;
        if (i < count) {
            row = rows[i];
            estimate = estimates[i];
            stays = estimate >= threshold;
        }
        // Everybody has read this stretch before anybody writes into it.
        __syncthreads();
        if (stays) {
            int place = atomicAdd(&kept, 1);
            rows[place] = row;
            estimates[place] = estimate;
        }
        __syncthreads();
    }
    return kept;
}

extern "C" __global__ void join_rows(
    const float *__restrict__ products,   // (queries, width): unit queries with the rows of the tile
    int width,                     // row_count or more; what is beyond is nobody's
    const float *__restrict__ norms,      // (row_count): of these rows
    int row_count,
    int first_row,                 // the number of the tile's first row
    const unsigned char *sets,     // (any, row_count): which rows count
    const int *set_of,             // (queries): a query's set; -1 where all rows count
    int metric,
    const float *doubled_norms,    // (queries)
    int capacity,                  // of a list: at least kept_max + row_count
    const float *thresholds,       // (queries), at first -infinity
    int *counts,                   // (queries): rows in each list
    int *list_rows,                // (queries, capacity)
    float *list_estimates          // (queries, capacity)
) {
    const size_t query = blockIdx.y;
    const float threshold = thresholds[query];
    const float doubled_norm = doubled_norms[query];
    const unsigned char *counted = set_of[query] < 0 ? 0 : sets + (size_t)set_of[query] * row_count;
    const float *own = products + query * width;
    // Below it times the norm, no product reaches the threshold, however the three are rounded: few rows
    // are divided.
    const float short_of_it = threshold - 1e-6f * fabsf(threshold) - 1e-12f;
    const int stride = gridDim.x * blockDim.x;
    int first = blockIdx.x * blockDim.x + threadIdx.x;
    for (; first < row_count; first += UNDER_WAY * stride) {
        float estimates[UNDER_WAY], sizes[UNDER_WAY];
        // Loads of all first: none waits for what is done with another.
        for (int j = 0; j < UNDER_WAY; j++) {
            int i = first + j * stride;
            estimates[j] = i < row_count ? own[i] : 0;
            sizes[j] = i < row_count ? norms[i] : 0;
        }
        for (int j = 0; j < UNDER_WAY; j++) {
            int i = first + j * stride;
            float estimate = estimates[j], norm = sizes[j];
            if (i >= row_count) break;
            if (metric == COSINE) {
                if (estimate < short_of_it * norm) continue;
                estimate = norm > 0 ? estimate / norm : 0;
            } else if (metric != DOTPRODUCT) {
                estimate = doubled_norm * estimate - norm * norm;
            }
            if (estimate >= threshold && !(counted && !counted[i])) {
                size_t place = query * capacity + atomicAdd(&counts[query], 1);
                list_rows[place] = first_row + i;
                list_estimates[place] = estimate;
            }
        }
    }
}

extern "C" __global__ void raise_thresholds(
    const float *margins,          // (queries)
    const int *wanted,             // (queries): k of each
    int kept_max,
    int capacity,
    float *thresholds,
    int *counts,                   // (queries): -1 where a query is given up
    int *settled,                  // (queries): what counts were when the threshold was last looked at
    int *list_rows,
    float *list_estimates
) {
    const size_t query = blockIdx.x;
    int found = counts[query];
    const int before = settled[query];
    // Everybody has read them before anybody writes.
    __syncthreads();
    if (found == before) return;
    if (found > wanted[query]) {
        float *estimates = list_estimates + query * capacity;
        // Rounded down, so that no row is lost by the threshold's own rounding.
        float kth = found <= FEW ? kth_largest_of_few(estimates, found, wanted[query])
                                 : kth_largest(estimates, found, wanted[query]);
        float raised = __fsub_rd(kth, margins[query]);
        found = compact(list_rows + query * capacity, estimates, found, raised);
        if (threadIdx.x == 0) thresholds[query] = raised;
    }
    if (threadIdx.x == 0) {
        if (found > kept_max) {
            thresholds[query] = NEVER;
            found = -1;
        }
        counts[query] = settled[query] = found;
    }
}
