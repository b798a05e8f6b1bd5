"""Every benchmark in turn:  make bench"""

import bench_dilated
import bench_encode
import bench_generation

if __name__ == "__main__":
    bench_encode.main()
    bench_generation.main()
    bench_dilated.main()
