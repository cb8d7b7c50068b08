"""The peer: the same endpoints as a user would otherwise write them, with FastAPI and SQLAlchemy.

One session per request, the token looked up by a dependency, models validated by pydantic; the same server, one
worker, a pool of ten, the same tables and indexes, the same documents. Run as `python -m bench.peer PORT DSN`.
"""

import hashlib
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import uvloop
from fastapi import Depends, FastAPI, Header, HTTPException
from granian.constants import Interfaces
from granian.server.embed import Server
from pydantic import BaseModel
from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, LargeBinary, Numeric, String, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    sku: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str]
    category: Mapped[str]
    supplier: Mapped[str]
    price: Mapped[Any] = mapped_column(Numeric)
    currency: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    source_job: Mapped[int] = mapped_column(BigInteger)
    deleted_job: Mapped[int | None] = mapped_column(BigInteger)
    stock: Mapped[list["Stock"]] = relationship()


class Stock(Base):
    __tablename__ = "stock"
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    warehouse: Mapped[str] = mapped_column(String, primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)


class Token(Base):
    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ProductOut(BaseModel):
    sku: str
    name: str
    category: str
    supplier: str
    price: str
    currency: str
    updated_at: datetime
    stock: dict[str, int]


class PageOut(BaseModel):
    items: list[ProductOut]
    next_cursor: str | None


def shown(product: Product) -> ProductOut:
    names = ("sku", "name", "category", "supplier", "currency", "updated_at")
    stock = {row.warehouse: row.quantity for row in product.stock}
    return ProductOut(price=str(product.price), stock=stock, **{name: getattr(product, name) for name in names})


def build_app(dsn: str) -> FastAPI:
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+psycopg://"), pool_size=10, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as current:
            yield current

    Session = Annotated[AsyncSession, Depends(session)]

    async def caller(current: Session, authorization: Annotated[str, Header()] = "") -> Token:
        digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
        found = await current.scalar(select(Token).where(Token.hash == digest, Token.revoked_at.is_(None)))
        if found is None or not {"read", "admin"} & set(found.scopes):
            raise HTTPException(401)
        return found

    visible = (Product.deleted_job.is_(None)) | (Product.deleted_job < Product.source_job)

    @app.get("/v1/products/{sku:path}", dependencies=[Depends(caller)])
    async def show(sku: str, current: Session) -> ProductOut:
        query = select(Product).where(Product.sku == sku, visible).options(selectinload(Product.stock))
        product = await current.scalar(query)
        if product is None:
            raise HTTPException(404)
        return shown(product)

    @app.get("/v1/products", dependencies=[Depends(caller)])
    async def page(current: Session, cursor: str = "", limit: int = 50) -> PageOut:
        query = select(Product).where(Product.sku > cursor, visible).order_by(Product.sku).limit(limit)
        products = (await current.scalars(query.options(selectinload(Product.stock)))).all()
        return PageOut(items=[shown(product) for product in products], next_cursor=products[-1].sku)

    return app


async def serve(port: int, dsn: str) -> None:
    server = Server(
        build_app(dsn), address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False
    )
    await server.serve()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
