// Weight updates and constraints (numerics 13), and the sums along a label tree (numerics 4.5).
//
//   update          v = momentum v + rate g - decay w;  w += v
//   super_update    the same on g divided by the root of its running variance (13.8)
//   limit_norm      columns over K longer than `limit` are scaled to it
//   limit_contrast  columns whose sqrt(sum (w - mean)^2) / K leaves [least, most] are scaled into it
//   tree            effective[v] = sum of offsets from the root to v; the transpose; the update with rates per node
//
// Layout: weights [outer][k][inner], tree weights [node][k]. Threads: one per element; one per column of a constraint
// or of the tree, striding over the grid.
// 2012: WeightConstraintOperator, kNormalizeLCWeights, superMomUpdate, kSoftmaxTree{Fwd,Bwd,UpdateWeights}.

#include "common.cuh"

// 2012: kEltwiseBinaryOp, once for each term.
extern "C" __global__ void update(float* weights, float* increments, const float* grad, long long count, int has_grad,
                                  float momentum, float rate, float decay) {
    FOR_EACH(i, count) {
        float v = increments[i];
        if (has_grad) v = momentum * v + rate * grad[i];
        if (decay > 0) v -= decay * weights[i];
        increments[i] = v;
        weights[i] += v;
    }
}

// 2012: superMomUpdate.
extern "C" __global__ void super_update(float* weights, float* increments, const float* grad, float* mean, float* square,
                                        long long count, float momentum, float rate, float decay, float epsilon) {
    FOR_EACH(i, count) {
        const float g = grad[i], m = momentum * mean[i] + (1 - momentum) * g;
        const float s = momentum * square[i] + (1 - momentum) * g * g;
        mean[i] = m;
        square[i] = s;
        // 0.9 and the unsquared mean are the original's.
        const float v = 0.9f * increments[i] + rate * g / sqrtf(s - m + epsilon) - decay * weights[i];
        increments[i] = v;
        weights[i] += v;
    }
}

// 2012: sums by kDumbAggCols, then WeightConstraintOperator.
extern "C" __global__ void limit_norm(float* weights, int outer, int rows, int inner, float limit, int hard) {
    FOR_EACH(column, (long long)outer * inner) {
        float* w = weights + column / inner * rows * inner + column % inner;  // w[k * inner]
        float square = 0;
        for (int k = 0; k < rows; k++) square += w[(long long)k * inner] * w[(long long)k * inner];
        const float norm = sqrtf(square);
        if (!(hard ? norm > 0 : norm > limit)) continue;
        for (int k = 0; k < rows; k++) w[(long long)k * inner] *= limit / norm;
    }
}

// 2012: kNormalizeLCWeights, WeightContrastNormOperator.
extern "C" __global__ void limit_contrast(float* weights, int outer, int rows, int inner, float low, float high) {
    FOR_EACH(column, (long long)outer * inner) {
        float* w = weights + column / inner * rows * inner + column % inner;
        float mean = 0, square = 0;
        for (int k = 0; k < rows; k++) mean += w[(long long)k * inner];
        mean /= rows;
        for (int k = 0; k < rows; k++) {
            const float deviation = w[(long long)k * inner] - mean;
            square += deviation * deviation;
        }
        const float contrast = sqrtf(square) / rows;
        if (contrast <= 0) continue;
        const float gain = fminf(fmaxf(contrast, low), high) / contrast;
        for (int k = 0; k < rows; k++) w[(long long)k * inner] *= gain;
    }
}

// order[] lists nodes from the root down; the root is its own parent.
// 2012: kSoftmaxTreeFwd.
extern "C" __global__ void tree_forward(const float* offsets, float* effective, const int* parents, const int* order,
                                        int nodes, int columns) {
    FOR_EACH(k, columns) {
        for (int i = 0; i < nodes; i++) {
            const long long v = order[i], parent = parents[v];
            effective[v * columns + k] = offsets[v * columns + k] + (parent == v ? 0.0f : effective[parent * columns + k]);
        }
    }
}

// 2012: kSoftmaxTreeBwd.
extern "C" __global__ void tree_backward(float* grad, const int* parents, const int* order, int nodes, int leaves,
                                         int columns) {
    FOR_EACH(k, columns) {
        for (long long v = leaves; v < nodes; v++) grad[v * columns + k] = 0;
        for (int i = nodes - 1; i > 0; i--) {
            const long long v = order[i];
            grad[(long long)parents[v] * columns + k] += grad[v * columns + k];
        }
    }
}

// 2012: kSoftmaxTreeUpdateWeights.
extern "C" __global__ void tree_update(float* weights, float* increments, const float* grad, const int* leaves_below,
                                       int columns, long long count, float momentum, float rate, float decay) {
    FOR_EACH(i, count) {
        const float size = (float)leaves_below[i / columns];
        const float v = momentum * increments[i] + rate / size * (grad[i] - decay / size * weights[i]);
        increments[i] = v;
        weights[i] += v;
    }
}
