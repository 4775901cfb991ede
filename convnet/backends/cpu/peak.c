/* Multiply-adds of numbers that stay in registers: the most arithmetic that the processor does in a second.
 *
 * Every thread computes a = a * x + y in CHAINS vectors that do not depend on each other, ``rounds`` times, and the sum of all
 * goes where the compiler has to put it. The 2012 release had no such measure.
 */
#define CHAINS 12 /* covers two units of four cycles, and leaves x and y registers where there are 16 */

/* Return the operations done, two for each multiply-add. */
static double multiply_add(int64_t rounds) {
    double operations = 0.0;
    float sum = 0.0f;
#pragma omp parallel reduction(+ : operations, sum)
    {
        volatile float kept = 0.5f;
        const float value = kept;
        vec chains[CHAINS], x, y;
        for (int v = 0; v < VW; v++) x[v] = value, y[v] = value;
        for (int c = 0; c < CHAINS; c++) chains[c] = x * (float)c;
        for (int64_t round = 0; round < rounds; round++)
            for (int c = 0; c < CHAINS; c++) chains[c] = chains[c] * x + y;
        for (int c = 0; c < CHAINS; c++) sum += chains[c][0];
        operations += 2.0 * CHAINS * VW * (double)rounds;
    }
    volatile float kept = sum;
    (void)kept;
    return operations;
}
