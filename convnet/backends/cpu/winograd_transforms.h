/* Winograd's transforms: a row of m outputs of r taps by n = m + r - 1 products.
 *
 *   y = AT ((G g) * (B d))        d: n inputs, g: r taps, y: m outputs; in two dimensions over rows, then over columns
 *
 * The method multiplies polynomials by their values at n points: 0, pairs +p and -p, and infinity. All three matrices have
 * one row for each point, and rows of a pair differ only in the sign of odd columns, so that both come from two sums.
 * The gradient of the weights is of the same parts: GT ((A dy) * (B d)).
 *
 * Points decide the error. With 0, 1/sqrt 2, sqrt 2 and infinity that of F(4x4,3x3) is a fifth of what the usual 0, 1, 2
 * and infinity give, which makes it that of a direct sum; docs/performance.md has the figures. (Lavin and Gray 2015;
 * Barabasz and others 2018 on points.)
 */

#define MAX_POINTS 8 /* n of the largest */
#define GRID (MAX_POINTS * MAX_POINTS)
#define ALIGNED __attribute__((aligned(64)))

typedef struct {
    const char *name;
    int math;    /* the least enum Math that allows it */
    int m, r, n; /* outputs, taps and points of one dimension */
    float B[MAX_POINTS][MAX_POINTS], G[MAX_POINTS][MAX_POINTS], A[MAX_POINTS][MAX_POINTS]; /* rows: points */
} Winograd;

#define ROOT2 1.41421356f
#define HALF_ROOT2 0.70710678f

enum { F2X2_3X3, F4X4_3X3, F4X4_5X5, WINOGRADS };

static const Winograd WINOGRAD[WINOGRADS] = {
    {"Winograd F(2x2,3x3)", MATH_FLOAT32, 2, 3, 4,
     /* 0, 1, -1, infinity */
     .B = {{1, 0, -1}, {0, 1, 1}, {0, -1, 1}, {0, -1, 0, 1}},
     .G = {{1}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}},
     .A = {{1}, {1, 1}, {1, -1}, {0, 1}}},
    {"Winograd F(4x4,3x3)", MATH_FLOAT32, 4, 3, 6,
     /* 0, +-1/sqrt 2, +-sqrt 2, infinity */
     .B = {{1, 0, -2.5f, 0, 1}, {0, -ROOT2, -2, HALF_ROOT2, 1}, {0, ROOT2, -2, -HALF_ROOT2, 1},
           {0, -HALF_ROOT2, -0.5f, ROOT2, 1}, {0, HALF_ROOT2, -0.5f, -ROOT2, 1}, {0, 1, 0, -2.5f, 0, 1}},
     .G = {{1}, {-2 / 3.0f, -ROOT2 / 3, -1 / 3.0f}, {-2 / 3.0f, ROOT2 / 3, -1 / 3.0f},
           {1 / 6.0f, ROOT2 / 6, 1 / 3.0f}, {1 / 6.0f, -ROOT2 / 6, 1 / 3.0f}, {0, 0, 1}},
     .A = {{1}, {1, HALF_ROOT2, 0.5f, HALF_ROOT2 / 2}, {1, -HALF_ROOT2, 0.5f, -HALF_ROOT2 / 2},
           {1, ROOT2, 2, 2 * ROOT2}, {1, -ROOT2, 2, -2 * ROOT2}, {0, 0, 0, 1}}},
    {"Winograd F(4x4,5x5)", MATH_FAST, 4, 5, 8,
     /* 0, +-1/2, +-1, +-2, infinity */
     .B = {{-1, 0, 5.25f, 0, -5.25f, 0, 1}, {0, 2, 4, -2.5f, -5, 0.5f, 1}, {0, -2, 4, 2.5f, -5, -0.5f, 1},
           {0, 1, 1, -4.25f, -4.25f, 1, 1}, {0, -1, 1, 4.25f, -4.25f, -1, 1}, {0, 0.5f, 0.25f, -2.5f, -1.25f, 2, 1},
           {0, -0.5f, 0.25f, 2.5f, -1.25f, -2, 1}, {0, -1, 0, 5.25f, 0, -5.25f, 0, 1}},
     .G = {{-1}, {32 / 45.0f, 16 / 45.0f, 8 / 45.0f, 4 / 45.0f, 2 / 45.0f}, {32 / 45.0f, -16 / 45.0f, 8 / 45.0f, -4 / 45.0f, 2 / 45.0f},
           {-2 / 9.0f, -2 / 9.0f, -2 / 9.0f, -2 / 9.0f, -2 / 9.0f}, {-2 / 9.0f, 2 / 9.0f, -2 / 9.0f, 2 / 9.0f, -2 / 9.0f},
           {1 / 90.0f, 2 / 90.0f, 4 / 90.0f, 8 / 90.0f, 16 / 90.0f}, {1 / 90.0f, -2 / 90.0f, 4 / 90.0f, -8 / 90.0f, 16 / 90.0f},
           {0, 0, 0, 0, 1}},
     .A = {{1}, {1, 0.5f, 0.25f, 0.125f}, {1, -0.5f, 0.25f, -0.125f}, {1, 1, 1, 1}, {1, -1, 1, -1}, {1, 2, 4, 8}, {1, -2, 4, -8},
           {0, 0, 0, 1}}},
};

#define UNROLL _Pragma("GCC unroll 8")

/* Sum of every second column from ``first`` on of one row of a matrix, times d. Zeros are known when this is compiled. */
static INLINE vec half_row(const float *row, int first, int columns, const vec *d, int step) {
    vec sum = {0};
    int any = 0; /* 0 + x is not x for compilers, which mind the sign of 0 */
    UNROLL for (int j = first; j < columns; j += 2)
        if (row[j] != 0.0f) {
            if (any)
                sum += row[j] * d[j * step];
            else
                sum = row[j] * d[j * step];
            any = 1;
        }
    return sum;
}

/* t[i] = sum over j of matrix[i][j] * d[j], for n points i; ``step``: from one d, or t, to the next. */
static INLINE void expand(const float (*matrix)[MAX_POINTS], int n, int columns, const vec *d, int step, vec *t, int t_step) {
    t[0] = half_row(matrix[0], 0, columns, d, step);
    UNROLL for (int i = 1; i < n - 1; i += 2) {
        const vec even = half_row(matrix[i], 0, columns, d, step), odd = half_row(matrix[i], 1, columns, d, step);
        t[i * t_step] = even + odd, t[(i + 1) * t_step] = even - odd;
    }
    t[(n - 1) * t_step] = half_row(matrix[n - 1], 0, columns, d, step) + half_row(matrix[n - 1], 1, columns, d, step);
}

/* y[j] = sum over points i of matrix[i][j] * t[i]. */
static INLINE void contract(const float (*matrix)[MAX_POINTS], int n, int columns, const vec *t, int step, vec *y, int y_step) {
    vec both[2][MAX_POINTS / 2]; /* sums and differences of pairs */
    UNROLL for (int i = 1; i < n - 1; i += 2) {
        both[0][i / 2] = t[i * step] + t[(i + 1) * step];
        both[1][i / 2] = t[i * step] - t[(i + 1) * step];
    }
    UNROLL for (int j = 0; j < columns; j++) {
        vec sum = matrix[1][j] * both[j % 2][0];
        UNROLL for (int i = 3; i < n - 1; i += 2) sum += matrix[i][j] * both[j % 2][i / 2];
        if (matrix[0][j] != 0.0f) sum += matrix[0][j] * t[0];
        if (matrix[n - 1][j] != 0.0f) sum += matrix[n - 1][j] * t[(n - 1) * step];
        y[j * y_step] = sum;
    }
}

/* In two dimensions: t[n, n] of d[columns, columns], both with rows of MAX_POINTS. */
static INLINE void expand_square(const float (*matrix)[MAX_POINTS], int n, int columns, const vec *d, vec *t) {
    vec half[GRID] ALIGNED;
    UNROLL for (int x = 0; x < columns; x++) expand(matrix, n, columns, d + x, MAX_POINTS, half + x, MAX_POINTS);
    UNROLL for (int y = 0; y < n; y++) expand(matrix, n, columns, half + y * MAX_POINTS, 1, t + y * MAX_POINTS, 1);
}

/* In two dimensions: y[columns, columns] of t[n, n]. */
static INLINE void contract_square(const float (*matrix)[MAX_POINTS], int n, int columns, const vec *t, vec *y) {
    vec half[GRID] ALIGNED;
    UNROLL for (int x = 0; x < n; x++) contract(matrix, n, columns, t + x, MAX_POINTS, half + x, MAX_POINTS);
    UNROLL for (int j = 0; j < columns; j++) contract(matrix, n, columns, half + j * MAX_POINTS, 1, y + j * MAX_POINTS, 1);
}
