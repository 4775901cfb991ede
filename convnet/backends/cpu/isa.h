/* All kernels for one instruction set, and their table.
 *
 * An isa_*.c file defines, before it includes this: ISA, the set's name; VW, the floats of a vector; TH and NV, the
 * largest tile of a product: TH rows by NV vectors (tile.h); MR and WIDEST, the rows of a tile of weight gradients and its
 * vectors of filters at most; and NARROW_MR and NARROW_NV, the tile of few cases: places by vectors of filters.
 */
#include "kernels.h"
#include "vector.h"
#include "neuron.h"
#include "tile.h"

#include "conv_pack.c"
#include "conv.c"
#include "conv_weight_grad.c"
#include "conv_narrow.c"
#include "winograd_transforms.h"
#include "winograd.c"
#include "winograd_weight_grad.c"
#include "conv_method.c"
#include "cost.c"
#include "fc.c"
#include "fc_input_grad.c"
#include "fc_weight_grad.c"
#include "image.c"
#include "neuron.c"
#include "norm.c"
#include "pack.c"
#include "peak.c"
#include "pool.c"
#include "spread.c"
#include "weights.c"

#define TABLE_OF(isa) convnet_kernels_##isa
#define TABLE(isa) TABLE_OF(isa)
#define TEXT_OF(isa) #isa
#define TEXT(isa) TEXT_OF(isa)
#define MEMBER(result, name, parameters) name,

const Kernels TABLE(ISA) = {TEXT(ISA), KERNELS(MEMBER)};
