from mesh.run import main

from .app import build

if __name__ == "__main__":
    main("suppliers", build)
