"""Every benchmark in turn:  make bench"""

import bench_allocator
import bench_band
import bench_batches
import bench_dilated
import bench_encode
import bench_generation
import bench_latent
import bench_lpd5
import bench_measure
import bench_memory
import bench_transformer

if __name__ == "__main__":
    bench_encode.main()
    bench_band.main()
    bench_lpd5.main()
    bench_measure.main()
    bench_generation.main()
    bench_dilated.main()
    bench_transformer.main()
    bench_latent.main()
    bench_allocator.main()
    bench_memory.main()
    bench_batches.main()
