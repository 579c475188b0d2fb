//go:build duckdb_arrow

package query

import (
	"context"
	"database/sql"
	"errors"
	"reflect"

	"github.com/apache/arrow-go/v18/arrow"
	bindings "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/arrowmapping"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// streamQuery runs text and hands out each chunk as DuckDB makes it, so that a
// result of any size needs the memory of one chunk. The Arrow interface of the
// driver would hold it all.
func streamQuery(ctx context.Context, conn *sql.Conn, text string, out resultWriter) error {
	return conn.Raw(func(c any) error {
		handle, err := connectionOf(c)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { mapping.Interrupt(handle) })
		defer stop()
		var prepared mapping.PreparedStatement
		defer mapping.DestroyPrepare(&prepared)
		if mapping.Prepare(handle, text, &prepared) == mapping.StateError {
			return &duckdb.Error{Msg: mapping.PrepareError(prepared)}
		}
		var result mapping.Result
		defer mapping.DestroyResult(&result)
		if bindings.ExecutePreparedStreaming(prepared, &result) == mapping.StateError {
			return &duckdb.Error{Msg: mapping.ResultError(&result)}
		}
		return streamChunks(ctx, &result, out)
	})
}

// connectionOf takes the connection out of the driver's, which shows it to nobody.
func connectionOf(c any) (mapping.Connection, error) {
	if conn, ok := c.(*duckdb.Conn); ok {
		f := reflect.ValueOf(conn).Elem().Field(0)
		if f.Type() == reflect.TypeFor[mapping.Connection]() {
			return mapping.Connection{Ptr: f.Field(0).UnsafePointer()}, nil
		}
	}
	return mapping.Connection{}, errors.New("the driver's connection has another shape; see connectionOf")
}

func streamChunks(ctx context.Context, result *mapping.Result, out resultWriter) error {
	options := arrowmapping.ResultGetArrowOptions(result)
	defer arrowmapping.DestroyArrowOptions(&options)
	schema, err := schemaOf(result, options)
	if err != nil {
		return err
	}
	if err := out.schema(schema); err != nil {
		return err
	}
	for ctx.Err() == nil {
		chunk := mapping.FetchChunk(*result)
		if chunk.Ptr == nil {
			if text := mapping.ResultError(result); text != "" {
				return &duckdb.Error{Msg: text}
			}
			return nil
		}
		batch, damage := arrowmapping.DataChunkToArrowArray(options, schema, chunk)
		mapping.DestroyDataChunk(&chunk)
		if err := errorOf(damage); err != nil {
			return err
		}
		more, err := out.batch(batch)
		batch.Release()
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

func schemaOf(result *mapping.Result, options arrowmapping.ArrowOptions) (*arrow.Schema, error) {
	n := mapping.ColumnCount(result)
	names := make([]string, n)
	types := make([]mapping.LogicalType, n)
	for i := range n {
		names[i], types[i] = mapping.ColumnName(result, i), mapping.ColumnLogicalType(result, i)
	}
	schema, damage := arrowmapping.NewArrowSchema(options, types, names)
	for i := range types {
		mapping.DestroyLogicalType(&types[i])
	}
	return schema, errorOf(damage)
}

func errorOf(damage mapping.ErrorData) error {
	if damage.Ptr == nil {
		return nil
	}
	defer mapping.DestroyErrorData(&damage)
	if !mapping.ErrorDataHasError(damage) {
		return nil
	}
	return &duckdb.Error{Msg: mapping.ErrorDataMessage(damage)}
}
