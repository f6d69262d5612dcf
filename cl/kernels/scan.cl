/*
 * Exclusive prefix sum of u32, saturating at 2^32-1 (saturating addition of unsigned numbers is
 * associative, so the blocks may be summed in any order).
 *
 * A vector is cut into `blocks` chunks of `chunk` elements. scan_sums_u32 sums each chunk, and
 * scan_apply_u32 scans each one from the sum of the chunks before it; one block needs the second
 * kernel alone. dst has n + 1 elements, the last gets the total; dst may be src.
 *
 *   -DTS_FAT  one work-item per block, local size 1 (CPU devices); else TS_GROUP items per block
 */
#ifndef TS_GROUP
#    define TS_GROUP 256
#endif

#ifdef TS_FAT

kernel void scan_sums_u32(global const uint *src, ulong n, ulong chunk, global uint *sums)
{
    ulong begin = get_global_id(0) * chunk, end = min(n, begin + chunk);
    uint sum = 0;
    for (ulong i = begin; i < end; ++i)
        sum = add_sat(sum, src[i]);
    sums[get_global_id(0)] = sum;
}

kernel void scan_apply_u32(global const uint *src, global uint *dst, ulong n, ulong chunk,
                           global const uint *sums, uint blocks)
{
    uint block = (uint)get_global_id(0);
    ulong begin = block * chunk, end = min(n, begin + chunk);
    uint sum = 0;
    for (uint b = 0; b < block; ++b)
        sum = add_sat(sum, sums[b]);
    for (ulong i = begin; i < end; ++i) {
        uint value = src[i];
        dst[i] = sum;
        sum = add_sat(sum, value);
    }
    if (block + 1 == blocks)
        dst[n] = sum;
}

#else

/* The sum of `value` over the items before this one; *total gets that of all TS_GROUP items. */
static uint group_scan(uint value, local uint *shared_sum, uint *total)
{
    uint lid = (uint)get_local_id(0);
    shared_sum[lid] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = 1; step < TS_GROUP; step <<= 1) {
        uint other = lid >= step ? shared_sum[lid - step] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        shared_sum[lid] = add_sat(shared_sum[lid], other);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    uint before = lid ? shared_sum[lid - 1] : 0;
    *total = shared_sum[TS_GROUP - 1];
    barrier(CLK_LOCAL_MEM_FENCE);
    return before;
}

kernel __attribute__((reqd_work_group_size(TS_GROUP, 1, 1))) void scan_sums_u32(
    global const uint *src, ulong n, ulong chunk, global uint *sums)
{
    local uint shared_sum[TS_GROUP];
    ulong begin = get_group_id(0) * chunk, end = min(n, begin + chunk);
    uint sum = 0, total;
    for (ulong i = begin + get_local_id(0); i < end; i += TS_GROUP)
        sum = add_sat(sum, src[i]);
    group_scan(sum, shared_sum, &total);
    if (get_local_id(0) == 0)
        sums[get_group_id(0)] = total;
}

kernel __attribute__((reqd_work_group_size(TS_GROUP, 1, 1))) void scan_apply_u32(
    global const uint *src, global uint *dst, ulong n, ulong chunk, global const uint *sums,
    uint blocks)
{
    local uint shared_sum[TS_GROUP];
    uint block = (uint)get_group_id(0), lid = (uint)get_local_id(0);
    ulong begin = block * chunk, end = min(n, begin + chunk);
    uint part = 0, base, total;
    for (uint b = lid; b < block; b += TS_GROUP)
        part = add_sat(part, sums[b]);
    group_scan(part, shared_sum, &base);
    for (ulong at = begin; at < end; at += TS_GROUP * 4) {
        uint value[4], sum = 0;
        for (uint j = 0; j < 4; ++j) {
            ulong i = at + lid * 4 + j;
            value[j] = i < end ? src[i] : 0;
            sum = add_sat(sum, value[j]);
        }
        uint before = add_sat(base, group_scan(sum, shared_sum, &total));
        for (uint j = 0; j < 4; ++j) {
            ulong i = at + lid * 4 + j;
            if (i < end)
                dst[i] = before;
            before = add_sat(before, value[j]);
        }
        base = add_sat(base, total);
    }
    if (block + 1 == blocks && lid == 0)
        dst[n] = base;
}

#endif
