/* conv of few cases: the vector runs over filters, of which there are many (numerics 2.4, 2.9, 2.10).
 *
 *   forward       out[f, r]                = sum over c, ky, kx of images[c, y, x, n] * weights[c, ky, kx, f]
 *   input grad    input_grad[c, r]         = sum over f, ky, kx of grad[f, my, mx, n] * weights[c, ky, kx, f]
 *   weight grad   weight_grad[c, ky, kx, f] = sum over r of images[c, y, x, n] * grad[f, r]
 *
 * A place r is a pixel of the target and a case, (my, mx, n) or (y, x, n), in the order of memory. All three multiply
 * scalars by vectors. Scalars are read in place, from a copy with zeros around the maps, where a place and a tap are two
 * offsets that add up: NARROW_MR of them, each broadcast, by a row of up to NARROW_NV vectors. Rows of weights are
 * contiguous as they are; the input grad transposes them, the weight grad transposes its gradients. Threads share tiles;
 * each sum is one thread's, in a fixed order. Replaces what conv.c replaces, where cases do not fill its vectors.
 */

#define NARROW_TERMS 1024 /* places of the weight grad summed at a time, whose vectors stay in the second-level cache */
#define NARROW_CHUNK (4 * NARROW_MR) /* places that a thread finishes and stores at a time */
#define NARROW_WIDTH ((NARROW_CHUNK + VW - 1) / VW * VW)
#define NARROW_AHEAD 32 /* rows from the one that is read to the one that is prefetched: about the latency of memory */

typedef struct {
    const ConvShape *s;
    const float *maps;       /* of the scalars, maps[channel, h, w, N] */
    int channels, h, w;
    int border, Hp, Wp;      /* the copy begins ``border`` pixels before a map */
    float *copy;             /* copy[channel, Hp, Wp, N]; or NULL: ``data`` are the maps themselves */
    const float *data;
    int places, K, columns;  /* of each group: places, rows (channel, ky, kx), and what the vectors run over */
    int32_t *place_at, *tap_at; /* offsets in data: place_at[places], tap_at[group, K] */
    const float *vectors;    /* vectors[row, column], rows ``step`` and groups ``group_step`` apart */
    float *transposed;       /* or NULL */
    size_t step, group_step;
} Narrow;

/* One channel of the copy. */
static void copy_map(const Narrow *t, int channel) {
    const int N = t->s->N, before = MAX(t->border, 0), skipped = MAX(-t->border, 0);
    const int inside = MAX(MIN(t->w - skipped, t->Wp - before), 0) * N, row = t->Wp * N;
    for (int y = 0; y < t->Hp; y++) {
        float *to = t->copy + ((size_t)channel * t->Hp + y) * row;
        const int from = y - t->border;
        memset(to, 0, row * sizeof(float));
        if (from < 0 || from >= t->h) continue;
        memcpy(to + before * N, t->maps + (((size_t)channel * t->h + from) * t->w + skipped) * N, inside * sizeof(float));
    }
}

/* A strip of columns and its vectors. The last one of a row of weights that is no multiple of a vector begins ``shift``
 * columns earlier, so as not to read past the row. */
typedef struct {
    int first, end, nv, shift;
} Strip;

static Strip strip_at(const Narrow *t, int b) {
    const int first = b * NARROW_NV * VW, left = t->columns - first, nv = MIN(NARROW_NV, (left + VW - 1) / VW);
    return (Strip){first, first + MIN(left, nv * VW), nv, t->transposed ? 0 : MAX(nv * VW - left, 0)};
}

static int strips_of(const Narrow *t) { return (t->columns + NARROW_NV * VW - 1) / (NARROW_NV * VW); }

/* acc = the sum over ``terms`` rows of nv vectors, each times the scalars x[i][at[term]]: the inner loop. */
static INLINE void narrow_product(const float *const x[NARROW_MR], const int32_t *at, int terms, const float *row, size_t step,
                                  int nv, int shift, vec acc[NARROW_MR][NARROW_NV]) {
    vec sums[NARROW_MR][NARROW_NV] = {{{0}}}; /* nobody has its address: it lies in registers */
    const float *last = row + (nv - 1) * VW - shift;
    for (int t = 0; t < terms; t++, row += step, last += step) {
        const size_t offset = at[t];
        vec vectors[NARROW_NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) __builtin_prefetch(row + NARROW_AHEAD * step + v * VW);
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vectors[v] = *(const vec *)(v < nv - 1 ? row + v * VW : last);
#pragma GCC unroll 16
        for (int i = 0; i < NARROW_MR; i++) {
            const float scalar = x[i][offset];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sums[i][v] += scalar * vectors[v];
        }
    }
    for (int i = 0; i < NARROW_MR; i++)
        for (int v = 0; v < nv; v++) acc[i][v] = sums[i][v];
}

/* A tile: rows from ``first`` on of ``count``, whose offsets are row_at, past the last of which it is repeated. */
static void narrow_tile(const Narrow *t, const int32_t *row_at, int first, int count, const int32_t *at, int terms,
                        const float *vectors, Strip strip, vec acc[NARROW_MR][NARROW_NV]) {
    const float *x[NARROW_MR];
    vectors += strip.first;
    for (int i = 0; i < NARROW_MR; i++) x[i] = t->data + row_at[MIN(first + i, count - 1)];
    if (strip.nv == 1)
        narrow_product(x, at, terms, vectors, t->step, 1, strip.shift, acc);
    else if (strip.nv == 2)
        narrow_product(x, at, terms, vectors, t->step, 2, strip.shift, acc);
    else
        narrow_product(x, at, terms, vectors, t->step, NARROW_NV, strip.shift, acc);
}

/* Store ``count`` places from ``first`` on of target[channel, place]: forward with the ending, backward times the slope. */
static INLINE void store_places(const Narrow *t, int channel, int first, int count, float *RESTRICT row, const Ending *ending,
                                const Slope *slope, float *target) {
    const ConvShape *s = t->s;
    const size_t at = (size_t)channel * t->places + first;
    blend_row(slope, at, s->st, count, row, target);

    /* Biases that differ between pixels are those of one pixel at a time. */
    for (int i = 0, some; ending && i < count; i += some) {
        const int pixel = (first + i) / s->N;
        some = ending->per_place ? MIN(count, (pixel + 1) * s->N - first) - i : count;
        finish_row(ending, channel, pixel, t->places / s->N, some, row + i);
    }
    memcpy(target + at, row, count * sizeof(float));
}

/* A strip of group q at up to NARROW_CHUNK places from ``first`` on. The vectors run over channels, memory over places. */
static void narrow_chunk(const Narrow *t, int q, Strip strip, int first, const Ending *ending, const Slope *slope, float *target) {
    vec sums[NARROW_CHUNK][NARROW_NV];
    float rows[NARROW_NV * VW][NARROW_WIDTH];
    const int count = MIN(NARROW_CHUNK, t->places - first), channel = q * t->columns;
    for (int j = strip.first; j < strip.end; j++) /* lines to store to */
        prefetch_row(target + (size_t)(channel + j) * t->places + first, count);
    int from = 0;
    do {
        narrow_tile(t, t->place_at, first + from, t->places, t->tap_at + (size_t)q * t->K, t->K,
                    t->vectors + q * t->group_step, strip, sums + from);
    } while ((from += NARROW_MR) < count);
    transpose((const float *)sums, NARROW_NV * VW, strip.nv * VW, count, NARROW_WIDTH, rows[0], NARROW_WIDTH);
    for (int j = strip.first; j < strip.end; j++) {
        const int lane = j - strip.first;
        float *row = rows[lane < (strip.nv - 1) * VW ? lane : lane + strip.shift];
        if (count == NARROW_CHUNK) /* as is known where this is compiled */
            store_places(t, channel + j, first, NARROW_CHUNK, row, ending, slope, target);
        else
            store_places(t, channel + j, first, count, row, ending, slope, target);
    }
}

/* Inside a parallel region: every chunk of places of every strip. */
static void sum_taps(const Narrow *t, const Ending *ending, const Slope *slope, float *target) {
    const int strips = strips_of(t);
#pragma omp for collapse(3) schedule(dynamic, 1)
    for (int q = 0; q < t->s->groups; q++)
        for (int b = 0; b < strips; b++)
            for (int first = 0; first < t->places; first += NARROW_CHUNK)
                narrow_chunk(t, q, strip_at(t, b), first, ending, slope, target);
}

/* Inside a parallel region: add NARROW_TERMS places to every tile of taps by strips. Threads keep their tiles. */
static void sum_places(const Narrow *t, int from, float *weight_grad) {
    const ConvShape *s = t->s;
    const int strips = strips_of(t), terms = MIN(NARROW_TERMS, t->places - from);
    const float st = from ? 1.0f : s->st;
#pragma omp for collapse(3) schedule(static) nowait
    for (int q = 0; q < s->groups; q++)
        for (int b = 0; b < strips; b++)
            for (int first = 0; first < t->K; first += NARROW_MR) {
                const Strip strip = strip_at(t, b);
                vec acc[NARROW_MR][NARROW_NV];
                narrow_tile(t, t->tap_at + (size_t)q * t->K, first, t->K, t->place_at + from, terms,
                            t->vectors + from * t->step + q * t->group_step, strip, acc);
                for (int i = 0; i < MIN(NARROW_MR, t->K - first); i++) {
                    const float *row = (const float *)acc[i];
                    float *out = weight_grad + (size_t)(first + i) * s->F + (size_t)q * t->columns + strip.first;
                    for (int j = 0; j < strip.end - strip.first; j++)
                        out[j] = st == 0.0f ? s->so * row[j] : st * out[j] + s->so * row[j];
                }
            }
}

/* Tables of offsets in data for targets of ``rows`` x ``cols`` pixels, ``stride`` apart, and the source channels of groups. */
static void find_offsets(const Narrow *t, int rows, int cols, int stride, int per_group, const int32_t *conns) {
    const ConvShape *s = t->s;
    const int N = s->N;
    for (int y = 0, r = 0; y < rows; y++)
        for (int x = 0; x < cols; x++)
            for (int n = 0; n < N; n++) t->place_at[r++] = (y * t->Wp + x) * stride * N + n;
    for (int slot = 0, r = 0; slot < s->groups * per_group; slot++) {
        const int channel = conns ? conns[slot] : slot;
        for (int ky = 0; ky < s->k; ky++)
            for (int kx = 0; kx < s->k; kx++) t->tap_at[r++] = ((channel * t->Hp + ky) * t->Wp + kx) * N;
    }
}

/* The scalars are ``maps`` with ``border`` zeros before them; the windows of rows x cols targets lie inside the copy. */
static int narrow_open(Narrow *t, int rows, int cols, int stride, int per_group, const int32_t *conns) {
    const ConvShape *s = t->s;
    t->K = per_group * s->k * s->k, t->places = rows * cols * s->N;
    t->Hp = (rows - 1) * stride + s->k, t->Wp = (cols - 1) * stride + s->k;
    const int in_place = t->border == 0 && t->Hp <= t->h && t->Wp <= t->w;
    if (in_place) t->Hp = t->h, t->Wp = t->w;
    const size_t copied = in_place ? 0 : (size_t)t->channels * t->Hp * t->Wp * s->N;
    t->place_at = (int32_t *)scratch((size_t)t->places + (size_t)s->groups * t->K);
    t->copy = in_place ? NULL : scratch(copied);
    t->data = in_place ? t->maps : t->copy;
    if (!t->place_at || !t->data) return 0;
    t->tap_at = t->place_at + t->places;
    find_offsets(t, rows, cols, stride, per_group, conns);
    return 1;
}

static void narrow_close(Narrow *t) {
    give_back((float *)t->place_at), give_back(t->copy), give_back(t->transposed);
}

/* Inside a parallel region. */
static void copy_maps(const Narrow *t) {
    if (!t->copy) return;
#pragma omp for schedule(static)
    for (int channel = 0; channel < t->channels; channel++) copy_map(t, channel);
}

static int narrow_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    const int Fg = s->F / s->groups;
    Narrow t = {
        .s = s, .maps = images, .channels = s->C, .h = s->H, .w = s->W, .border = s->padding,
        .columns = Fg, .vectors = weights, .step = s->F, .group_step = Fg,
    };
    const int opened = narrow_open(&t, s->My, s->Mx, s->stride, s->Cf, s->conns);
    if (opened)
#pragma omp parallel
    {
        copy_maps(&t);
        sum_taps(&t, ending, NULL, out);
    }
    narrow_close(&t);
    return opened;
}

/* Of stride 1 and without random connections: a convolution of grad with the weights turned around,
 * transposed[group, f, ky, kx, c]. */
static int narrow_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    const int Fg = s->F / s->groups, taps = s->k * s->k, width = (s->Cf + VW - 1) / VW * VW;
    Narrow t = {
        .s = s, .maps = grad, .channels = s->F, .h = s->My, .w = s->Mx, .border = s->k - 1 - s->padding,
        .columns = s->Cf, .step = width, .group_step = (size_t)Fg * taps * width,
    };
    t.vectors = t.transposed = scratch((size_t)s->F * taps * width);
    const int opened = t.transposed && narrow_open(&t, s->H, s->W, 1, Fg, NULL);
    if (opened)
#pragma omp parallel
    {
        copy_maps(&t);
#pragma omp for collapse(2) schedule(static)
        for (int q = 0; q < s->groups; q++)
            for (int tap = 0; tap < taps; tap++)
                transpose(weights + (size_t)(taps - 1 - tap) * s->F + (size_t)q * Fg, (size_t)taps * s->F, Fg, s->Cf, width,
                          t.transposed + q * t.group_step + (size_t)tap * width, (size_t)taps * width);
        sum_taps(&t, NULL, slope, input_grad);
    }
    narrow_close(&t);
    return opened;
}

/* Gradients are transposed, transposed[place, group, f]. */
static int narrow_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    const int Fg = s->F / s->groups, width = (Fg + VW - 1) / VW * VW;
    Narrow t = {
        .s = s, .maps = images, .channels = s->C, .h = s->H, .w = s->W, .border = s->padding,
        .columns = Fg, .step = (size_t)s->groups * width, .group_step = width,
    };
    const int places = s->My * s->Mx * s->N;
    t.vectors = t.transposed = scratch(places * t.step);
    const int opened = t.transposed && narrow_open(&t, s->My, s->Mx, s->stride, s->Cf, s->conns);
    if (opened)
#pragma omp parallel
    {
        copy_maps(&t);
#pragma omp for collapse(2) schedule(static)
        for (int q = 0; q < s->groups; q++)
            for (int from = 0; from < places; from += 16)
                transpose(grad + (size_t)q * Fg * places + from, places, MIN(16, places - from), Fg, width,
                          t.transposed + from * t.step + q * t.group_step, t.step);
        for (int from = 0; from < places; from += NARROW_TERMS) sum_places(&t, from, weight_grad);
    }
    narrow_close(&t);
    return opened;
}
