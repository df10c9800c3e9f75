/* SPDX-License-Identifier: Apache-2.0
 *
 * target.h: the instruction set of a translation unit, said in the file itself: HR_TARGET_BEGIN("avx2") ... HR_TARGET_END
 * around its functions. No build flags, so that one command line compiles everything and no level leaks into common code.
 */
#ifndef HEADRACE_KERNELS_TARGET_H
#define HEADRACE_KERNELS_TARGET_H

#define HR_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define HR_TARGET_BEGIN(isa) HR_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define HR_TARGET_END HR_PRAGMA(clang attribute pop)
#else
/* gcc's reassociation would tear apart the sums whose order here follows the latencies (SHA-1 x16: 12 % slower with it). */
#define HR_TARGET_BEGIN(isa) HR_PRAGMA(GCC push_options) HR_PRAGMA(GCC optimize("no-tree-reassoc")) HR_PRAGMA(GCC target(isa))
#define HR_TARGET_END HR_PRAGMA(GCC pop_options)
#endif

#if defined(__clang__)
#define HR_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HR_UNROLL _Pragma("GCC unroll 32")
#endif
#define HR_INLINE static inline __attribute__((always_inline))

#endif
