# docker build -t ssl-bench .                                              for a CPU
# docker build -t ssl-bench:cuda --build-arg TORCH_INDEX=cu126 .           for an Nvidia GPU: run with --gpus all
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" ssl-bench run --methods supervised,mt --dataset demo
FROM python:3.12-slim

ARG TORCH_INDEX=cpu
ARG VERSION=0.1.0

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

WORKDIR /opt/ssl-bench
COPY constraints.txt ./
RUN pip install -c constraints.txt torch torchvision --index-url "https://download.pytorch.org/whl/${TORCH_INDEX}"

COPY pyproject.toml README.md LICENSE ./
COPY ssl_bench ssl_bench
COPY methods methods
COPY benchmarks benchmarks
COPY results/published results/published
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" pip install -c constraints.txt . \
    && useradd --create-home --uid 1000 bench
USER 1000
ENV SSL_BENCH_CACHE=/tmp/ssl-bench SSL_BENCH_DATA=/work/data SSL_BENCH_RESULTS=/work/results
WORKDIR /work
ENTRYPOINT ["ssl-bench"]
CMD ["--help"]
