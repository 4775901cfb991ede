/* Pictures of bytes, cropped and maybe mirrored, as maps of floats (numerics 11.8 and 11.9):
 *
 *   out[c, y, x, n] = (pixels[n, tops[n] + y, lefts[n] + u, c] - mean[c, y, x] + shifts[c, n]) * gain
 *
 * where u = S - 1 - x if flips[n], else x. In ``pixels`` the bytes of a picture mostly lie side by side (CIFAR's have strides of
 * their own), in ``out`` the cases of a place: so a piece of a row is copied from each of PICTURES pictures, turned by
 * TURNED x TURNED bytes, and written along the cases.
 * Threads share the rows y. 2012's Python took a picture at a time, and mirrored and subtracted in passes of their own.
 */

#define TURNED 16    /* bytes each way that are turned at a time */
#define PICTURES 128 /* that a thread writes side by side: of 16, 64 and 128 the fastest by a quarter, measured on a Zen 5 */
#define PIECE 768    /* bytes of a row, whole pixels of 1 or 3 channels: with PICTURES it fits the cache of a core */

typedef uint8_t bytes __attribute__((vector_size(TURNED)));
typedef uint8_t vec_bytes __attribute__((vector_size(VW), aligned(1), may_alias));
typedef int32_t vec_ints __attribute__((vector_size(VW * 4)));

#ifdef __clang__ /* the same in both compilers' spelling */
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (bytes){__VA_ARGS__})
#endif

/* Bytes ``first`` to ``first`` + count of a cropped row, mirrored or not; ``row`` is where pixels[n, y, lefts[n], 0] lies. */
static void copy_bytes_of_row(const Crops *s, const uint8_t *row, int flip, int first, int count, uint8_t *RESTRICT to) {
    if (s->step_x == s->C && s->step_c == 1 && !flip)
        memcpy(to, row + first, count);
    else if (s->step_x == 3 && s->step_c == 1 && s->C == 3)
        for (int i = 0; i < count; i += 3) memcpy(to + i, row + 3 * (s->S - 1) - first - i, 3);
    else
        for (int i = first, x = first / s->C, c = first % s->C; i < first + count; i++) {
            *to++ = row[(flip ? s->S - 1 - x : x) * s->step_x + c * s->step_c];
            if (++c == s->C) c = 0, x++;
        }
}

/* The same piece of row y of each of some pictures from n0 on. */
static void copy_bytes_of_rows(const Crops *s, const uint8_t *pixels, int y, int first, int count, int n0, int cases, uint8_t *rows) {
    for (int n = n0; n < n0 + cases; n++, rows += PIECE) {
        const uint8_t *row = pixels + n * s->step_n + (s->tops[n] + y) * s->step_y + s->lefts[n] * s->step_x;
        /* The next row is far away if seen over all pictures, and near in each: no processor guesses that by itself. */
        if (y + 1 < s->S && s->step_c == 1)
            for (int i = first; i < first + count; i += 64) __builtin_prefetch(row + s->step_y + i);
        copy_bytes_of_row(s, row, s->flips[n], first, count, rows);
    }
}

/* turned[i][n] = byte i of row n: four times, rows n and n + 8 are interleaved. */
static inline void turn(const uint8_t *rows, bytes turned[TURNED]) {
    bytes from[TURNED];
    for (int n = 0; n < TURNED; n++) memcpy(&turned[n], rows + n * PIECE, TURNED);
    for (int round = 0; round < 4; round++) {
        memcpy(from, turned, sizeof from);
        for (int n = 0; n < TURNED / 2; n++) {
            turned[2 * n] = SHUFFLE(from[n], from[n + TURNED / 2], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            turned[2 * n + 1] =
                SHUFFLE(from[n], from[n + TURNED / 2], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
    }
}

/* One place of some pictures, whose bytes lie TURNED at a time in blocks that were turned. */
static inline void write_place(const uint8_t *turned, int cases, float mean, const float *shifts, float gain, float *out) {
    int n = 0;
    for (; n + VW <= cases; n += VW) {
        const vec_bytes *values = (const vec_bytes *)(turned + n / TURNED * TURNED * TURNED + n % TURNED);
        const vec whole = __builtin_convertvector(__builtin_convertvector(*values, vec_ints), vec);
        *(vec *)(out + n) = (whole - mean + *(const vec *)(shifts + n)) * gain;
    }
    for (; n < cases; n++) out[n] = (turned[n / TURNED * TURNED * TURNED + n % TURNED] - mean + shifts[n]) * gain;
}

static void pack_piece(const Crops *s, const uint8_t *pixels, int y, int first, int n0, float *out) {
    const int cases = MIN(PICTURES, s->N - n0), count = MIN(PIECE, s->S * s->C - first);
    uint8_t rows[PICTURES * PIECE];
    bytes turned[PICTURES / TURNED][TURNED];
    copy_bytes_of_rows(s, pixels, y, first, count, n0, cases, rows);
    int x = first / s->C, c = first % s->C;
    for (int i = 0; i < count; i++) {
        if (i % TURNED == 0)
            for (int n = 0; n < cases; n += TURNED) turn(rows + n * PIECE + i, turned[n / TURNED]);
        const size_t place = ((size_t)c * s->S + y) * s->S + x; /* [c, y, x] */
        const uint8_t *values = (const uint8_t *)&turned[0][i % TURNED];
        write_place(values, cases, s->mean[place], s->shifts + (size_t)c * s->N + n0, s->gain, out + place * s->N + n0);
        if (++c == s->C) c = 0, x++;
    }
}

static void pack_images(const Crops *s, const uint8_t *pixels, float *out) {
#pragma omp parallel for schedule(static)
    for (int y = 0; y < s->S; y++)
        for (int first = 0; first < s->S * s->C; first += PIECE)
            for (int n0 = 0; n0 < s->N; n0 += PICTURES) pack_piece(s, pixels, y, first, n0, out);
}
