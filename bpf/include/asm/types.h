#include <uapi/asm/types.h>
